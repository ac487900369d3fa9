//! What only a server can do: two replicas at the same instant, versions side by side, addresses with secrets.

use super::*;
use crate::connection::AnyConnection;
use crate::dialect::Number;
use diesel::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_replicas_migrate_at_the_same_instant() {
    for _ in 0..5 {
        let bed = Bed::server();
        let open = || tokio::spawn(Store::open(bed.database.clone()));
        let opened = [open(), open(), open(), open()];
        for store in opened {
            store.await.unwrap().unwrap().create_tool(&tool("weather"), None).await.ok();
        }
        assert_eq!(bed.open().await.tools().await.unwrap().len(), 1);
        let versions = Postgres::shared().sql(bed.url(), "SELECT count(*) FROM __diesel_schema_migrations");
        let all = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres"));
        assert_eq!(versions, all.expect("migrations").count().to_string());
        let locks = Postgres::shared().sql(bed.url(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())");
        assert_eq!(locks, "0");
    }
}

#[tokio::test]
async fn an_older_program_looks_at_min_binary_alone() {
    let bed = Bed::server();
    let store = bed.open().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    let server = Postgres::shared();
    // What a newer program has added.
    server.sql(bed.url(), "ALTER TABLE tools ADD COLUMN colour TEXT; INSERT INTO __diesel_schema_migrations (version) VALUES ('00000000000099')");
    assert_eq!(bed.open().await.tools().await.unwrap().len(), 1, "expanded only");
    server.sql(bed.url(), "UPDATE schema_info SET min_binary = 2");
    let refused = Store::open(bed.database.clone()).await.err().unwrap();
    assert!(matches!(refused, StoreError::SchemaTooNew { needed: 2, ours: 1 }), "{refused}");
}

/// A migration meets a transaction that has the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_gives_way_and_tries_again() {
    let bed = Bed::server();
    drop(bed.open().await);
    let server = Postgres::shared();
    let last = include_str!("../migrations/postgres/00000000000008_answers/down.sql");
    let later = include_str!("../migrations/postgres/00000000000007_tool_logs/down.sql");
    let undo = include_str!("../migrations/postgres/00000000000006_replicas/down.sql");
    let forget = "DELETE FROM __diesel_schema_migrations WHERE version >= '00000000000006'";
    server.sql(bed.url(), &format!("{last} {later} {undo} {forget}"));
    let url = bed.url().to_owned();
    let holder = tokio::task::spawn_blocking(move || {
        server.sql(&url, "BEGIN; LOCK TABLE builds IN ACCESS SHARE MODE; SELECT pg_sleep(2.5); COMMIT");
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = std::time::Instant::now();
    let store = bed.open().await;
    assert!(begun.elapsed() > Duration::from_secs(1), "it was in the way");
    assert_eq!(store.orphaned_builds().await.unwrap(), []);
    holder.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_serialization_conflict_is_run_again() {
    let bed = Bed::server();
    let stores = [bed.open().await, bed.open().await];
    stores[0].create_tool(&tool("weather"), None).await.unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    // Each reads what the other writes: of any two at once, one must have come second.
    let bump = |store: Store| {
        let runs = Arc::clone(&runs);
        let work = move |writer: &mut AnyConnection| {
            runs.fetch_add(1, Ordering::Relaxed);
            let query = "SELECT next_config AS value FROM tools WHERE name = 'weather'";
            let seen = diesel::sql_query(query).get_result::<Number>(writer)?.value;
            diesel::sql_query("SELECT pg_sleep(0.02)").execute(writer)?;
            let query = "UPDATE tools SET next_config = $1 WHERE name = 'weather'";
            diesel::sql_query(query).bind::<diesel::sql_types::BigInt, _>(seen + 1).execute(writer)?;
            Ok(())
        };
        async move { store.db.write("count", work).await }
    };
    let tasks: Vec<_> = (0..8).map(|turn| tokio::spawn(bump(stores[turn % 2].clone()))).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(stores[0].latest_config(&tool("weather")).await.unwrap(), 8, "none was lost");
    assert!(runs.load(Ordering::Relaxed) > 8, "and some were run again");
}

/// Whoever has seen a build has seen all with lower numbers: cleaning up rests on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn numbers_are_seen_in_order() {
    let bed = Bed::server();
    let stores = [bed.open().await, bed.open().await];
    let names: Vec<_> = (0..6).map(|turn| format!("tool{turn}")).collect();
    for name in &names {
        stores[0].create_tool(&tool(name), None).await.unwrap();
    }
    let write = |store: Store, name: String| async move {
        for _ in 0..25 {
            store.enqueue_build(new_build(&name)).await.unwrap();
        }
    };
    let writers = names.iter().zip(stores.iter().cycle());
    let writers = writers.map(|(name, store)| tokio::spawn(write(store.clone(), name.clone())));
    let writers: Vec<_> = writers.collect();
    let (mut seen, mut highest) = (std::collections::BTreeSet::new(), BuildId(0));
    while seen.len() < 150 {
        for build in stores[0].unfinished_builds().await.unwrap() {
            let is_new = seen.insert(build.id);
            assert!(!is_new || build.id > highest, "{} came after {highest}", build.id);
        }
        highest = seen.last().copied().unwrap_or(highest);
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deadlock_is_run_again() {
    let bed = Bed::server();
    let store = bed.open().await;
    let runs = Arc::new(AtomicU32::new(0));
    let both = |store: Store, order: [&'static str; 2]| {
        let runs = Arc::clone(&runs);
        let work = move |writer: &mut AnyConnection| {
            runs.fetch_add(1, Ordering::Relaxed);
            // Of no rows, so that only the cycle of locks is in the way.
            for name in order {
                diesel::sql_query(format!("SELECT pg_advisory_xact_lock(hashtext('{name}'))"))
                    .execute(writer)?;
                diesel::sql_query("SELECT pg_sleep(0.1)").execute(writer)?;
            }
            Ok(())
        };
        async move { store.db.write("lock both", work).await }
    };
    let one = tokio::spawn(both(store.clone(), ["quotes", "weather"]));
    let two = tokio::spawn(both(store.clone(), ["weather", "quotes"]));
    one.await.unwrap().unwrap();
    two.await.unwrap().unwrap();
    assert!(runs.load(Ordering::Relaxed) > 2, "one of them was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_are_woken_by_another_replica() {
    let bed = Bed::server();
    let (one, two) = (bed.open().await, bed.open().await);
    let mut changes = two.changes();
    one.create_tool(&tool("weather"), None).await.unwrap();
    let heard = Duration::from_secs(20);
    tokio::time::timeout(heard, changes.changed()).await.expect("it listens");
    tokio::time::sleep(Duration::from_millis(200)).await;
    one.enqueue_build(new_build("weather")).await.unwrap();
    let begun = std::time::Instant::now();
    tokio::time::timeout(heard, changes.changed()).await.expect("it hears");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn no_error_holds_the_password() {
    let server = Postgres::shared();
    let url = server.database();
    assert!(url.contains("unused-secret"));
    let options = StoreOptions { patience: Duration::from_millis(200), ..StoreOptions::default() };
    let nowhere = url.replace(&server.folder().display().to_string(), "/nowhere");
    let absent = server.url("absent");
    for url in
        [nowhere.as_str(), absent.as_str(), "postgresql://ann:unused-secret@127.0.0.1:1/x", "unused-secret"]
    {
        let error = Store::open_with(Database::postgres(url), options.clone())
            .await
            .err()
            .expect("it cannot be opened");
        assert!(!format!("{error} {error:?}").contains("unused-secret"), "{error:?}");
        assert!(!format!("{:?}", Database::postgres(url)).contains("unused-secret"));
    }
    let error = Store::open(Database::postgres(absent)).await.err().expect("there is none");
    assert!(
        matches!(&error, StoreError::Open { reason, .. } if reason.contains("does not exist")),
        "{error}"
    );
}

#[tokio::test]
async fn a_reader_cannot_write_and_a_backup_is_the_servers_own() {
    let store = Bed::server().open().await;
    let answer = store
        .db
        .read("write", |reader| diesel::sql_query("DELETE FROM tools").execute(reader).map_err(Into::into));
    let error = answer.await.unwrap_err();
    assert!(matches!(&error, StoreError::Query { reason, .. } if reason.contains("read-only")), "{error}");
    let error = store.backup_to("/tmp/never".as_ref()).await.unwrap_err();
    assert!(error.to_string().contains("pg_dump"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_verified() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, &certificate).unwrap();
    let start = move || Postgres::start_with_tls(port, &certificate, &key);
    let _server = tokio::task::spawn_blocking(start).await.unwrap();
    let url = |rest: &str| Database::postgres(format!("postgresql://hythe@localhost:{port}/postgres?{rest}"));
    let store =
        Store::open(url(&format!("sslmode=verify-full&sslrootcert={}", authority.display()))).await.unwrap();
    let work = |reader: &mut AnyConnection| {
        let query = "SELECT ssl::int::bigint AS value FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        Ok(diesel::sql_query(query).get_result::<Number>(reader)?.value)
    };
    assert_eq!(store.db.read("look", work).await.unwrap(), 1, "it speaks TLS");
    for mode in ["sslmode=verify-full", "sslmode=require", "sslmode=prefer"] {
        let refused = Store::open(url(mode)).await.err().expect("nobody trusts it");
        assert!(
            matches!(&refused, StoreError::Open { reason, .. } if reason.contains("sslrootcert")),
            "{refused}"
        );
    }
    assert!(Store::open(url("sslmode=disable")).await.is_ok(), "where the operator wants it so");
}
