//! The server dies, comes back, or stays away.

use super::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A server of the test's own, and a store with this patience.
async fn own(patience: Duration) -> (Arc<Postgres>, Database) {
    let server = Arc::new(tokio::task::spawn_blocking(Postgres::start).await.unwrap());
    let database = Database::postgres(server.database());
    let options = StoreOptions { patience, ..StoreOptions::default() };
    Store::open_with(database.clone(), options).await.unwrap();
    (server, database)
}

/// What a worker was told.
#[derive(Default)]
struct Told {
    acknowledged: BTreeSet<u32>,
    unclear: u32,
}

/// Writes releases until it is told to stop.
async fn work(store: Store, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    while !stop.load(Ordering::Relaxed) {
        match store.create_release(new_release("weather", None)).await {
            Ok(release) => assert!(told.acknowledged.insert(release.number.0)),
            Err(StoreError::Unclear { .. }) => told.unclear += 1,
            Err(error) => panic!("{error}"),
        }
        store.releases(&tool("weather"), 3).await.expect("reads are run again");
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crash_of_the_server_loses_nothing_and_doubles_nothing() {
    let (server, database) = own(Duration::from_mins(1)).await;
    let stores = [Store::open(database.clone()).await.unwrap(), Store::open(database.clone()).await.unwrap()];
    stores[0].create_tool(&tool("weather"), None).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> =
        (0..6).map(|turn| tokio::spawn(work(stores[turn % 2].clone(), Arc::clone(&stop)))).collect();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || server.crash_and_restart()).await.unwrap();
    }
    let before = stores[0].releases(&tool("weather"), 1).await.unwrap()[0].number.0;
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut unclear) = (BTreeSet::new(), 0);
    for worker in workers {
        let told = worker.await.unwrap();
        unclear += told.unclear;
        for number in told.acknowledged {
            assert!(acknowledged.insert(number), "{number} was given twice");
        }
    }
    let rows: BTreeSet<u32> = stores[0]
        .releases(&tool("weather"), 100_000)
        .await
        .unwrap()
        .iter()
        .map(|release| release.number.0)
        .collect();
    assert!(rows.is_superset(&acknowledged), "lost: {:?}", acknowledged.difference(&rows));
    assert!(rows.len() - acknowledged.len() <= unclear as usize, "{} rows, {unclear} unclear", rows.len());
    assert_eq!(rows, (1..=u32::try_from(rows.len()).unwrap()).collect(), "no gap");
    assert!(acknowledged.last() > Some(&before), "work went on after the last crash");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_waited_for_and_then_named() {
    let (server, database) = own(Duration::from_secs(30)).await;
    let store =
        |patience| Store::open_with(database.clone(), StoreOptions { patience, ..StoreOptions::default() });
    let patient = store(Duration::from_secs(30)).await.unwrap();
    let hasty = store(Duration::from_millis(500)).await.unwrap();
    patient.create_tool(&tool("weather"), None).await.unwrap();
    let crashed = Arc::clone(&server);
    tokio::task::spawn_blocking(move || crashed.crash()).await.unwrap();

    let begun = Instant::now();
    let error = hasty.tools().await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error}");
    let error = hasty.create_tool(&tool("quotes"), None).await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "nothing was sent: {error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(error.to_string().contains("has been away for"), "{error}");
    let fault = Fault::from(error).to_string();
    assert!(fault.contains("store/away") && !fault.contains("postgresql://"), "{fault}");
    assert!(matches!(store(Duration::from_millis(300)).await.err(), Some(StoreError::Away { .. })));

    let waiting = tokio::spawn(async move {
        patient.create_tool(&tool("quotes"), None).await.unwrap();
        patient.tools().await.unwrap().len()
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    let resumed = Arc::clone(&server);
    tokio::task::spawn_blocking(move || resumed.resume()).await.unwrap();
    assert_eq!(waiting.await.unwrap(), 2);
    assert_eq!(hasty.tools().await.unwrap().len(), 2, "and so does who gave up before");
}

/// The server ends a session in the middle of its transaction, before COMMIT: run again, once done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_cut_off_before_its_commit_is_run_again() {
    use crate::connection::AnyConnection;
    use diesel::RunQueryDsl;
    let bed = Bed::server();
    let store = bed.open().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    let runs = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let seen = Arc::clone(&runs);
    let work = move |writer: &mut AnyConnection| {
        diesel::sql_query("UPDATE tools SET next_config = next_config + 1").execute(writer)?;
        if seen.fetch_add(1, Ordering::Relaxed) == 0 {
            diesel::sql_query("SELECT pg_terminate_backend(pg_backend_pid())").execute(writer)?;
        }
        Ok(())
    };
    store.db.write("count", work).await.unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(store.latest_config(&tool("weather")).await.unwrap(), 1);
}

/// As after a failover, when the old server still answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_only_reads_is_left_for_another() {
    use crate::connection::AnyConnection;
    use crate::dialect::Number;
    use diesel::RunQueryDsl;
    let store = Bed::server().open().await;
    let sessions = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&sessions);
    let work = move |writer: &mut AnyConnection| {
        let session =
            diesel::sql_query("SELECT pg_backend_pid()::bigint AS value").get_result::<Number>(writer)?;
        let is_first = seen.lock().unwrap().is_empty();
        seen.lock().unwrap().insert(session.value);
        if is_first {
            diesel::sql_query("SET TRANSACTION READ ONLY").execute(writer)?;
        }
        diesel::sql_query("UPDATE tools SET next_config = next_config + 1").execute(writer)?;
        Ok(())
    };
    store.db.write("count", work).await.unwrap();
    assert_eq!(sessions.lock().unwrap().len(), 2, "not on the same connection");
}

/// The first server dies, and its standby takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_promoted_is_found_and_has_all_that_was_acknowledged() {
    let primary = Postgres::start();
    let url = primary.database();
    let standby = Postgres::standby_of(&primary);
    let folders = [&primary, &standby].map(|server| server.folder().display().to_string());
    let url = url.replace(&folders[0], &folders.join("&host="));
    let (store, other) = (
        Store::open(Database::postgres(&url)).await.unwrap(),
        Store::open(Database::postgres(&url)).await.unwrap(),
    );
    store.create_tool(&tool("before"), None).await.unwrap();
    let caught_up = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()";
    while primary.sql("postgres", caught_up) != "1" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    primary.crash();
    let meanwhile =
        tokio::spawn(async move { store.create_tool(&tool("meanwhile"), None).await.map(|_| store) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    standby.promote();
    let store = meanwhile.await.unwrap().expect("it waited for the other one");
    let names = store.tools().await.unwrap().into_iter().map(|tool| tool.name.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["before", "meanwhile"]);
    // Whoever waits for changes hears of them again.
    let mut changes = other.changes();
    other.tools().await.unwrap();
    let told = async {
        loop {
            changes.changed().await;
            if other.tools().await.unwrap().len() == 3 {
                return;
            }
        }
    };
    let written = async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        store.create_tool(&tool("after"), None).await.unwrap();
    };
    let (told, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), told), written);
    told.expect("it is told");
}

/// The answer to COMMIT is lost: the store says so and does not try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_is_unclear() {
    let bed = Bed::server();
    let store = bed.open().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    // The session ends itself while it commits.
    Postgres::shared().sql(
        bed.url(),
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER die AFTER INSERT ON releases DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION die();",
    );
    let error = store.create_release(new_release("weather", None)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unclear { .. }), "{error}");
    assert!(Fault::from(error).to_string().contains("store/unclear"));
    assert_eq!(
        store.releases(&tool("weather"), 9).await.unwrap(),
        [],
        "here it was not made; the store cannot know"
    );
}

/// A panic in the middle of a transaction leaves nothing behind on its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_leaves_no_transaction_behind() {
    use diesel::RunQueryDsl;
    for bed in [Bed::file(), Bed::server()] {
        let options = StoreOptions { connections: 1, ..StoreOptions::default() };
        let store = Store::open_with(bed.database.clone(), options).await.unwrap();
        store.create_tool(&tool("weather"), None).await.unwrap();
        let answer = store.db.write::<()>("panic", |writer| {
            diesel::sql_query("DELETE FROM tools").execute(writer)?;
            panic!("as a bug would")
        });
        assert!(answer.await.is_err());
        assert_eq!(store.tools().await.unwrap().len(), 1);
        store.create_tool(&tool("quotes"), None).await.unwrap();
        assert_eq!(store.tools().await.unwrap().len(), 2);
    }
}
