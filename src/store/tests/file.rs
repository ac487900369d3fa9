//! The file: who may read it, what survives, what is refused, and how it is copied.

use super::*;
use crate::connection::AnyConnection;
use crate::dialect::Number;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let (dir, store) = fresh().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    drop(store);
    let path = dir.path().join("hythe.db");
    let again = Store::open(&path).await.unwrap();
    assert_eq!(again.tools().await.unwrap().len(), 1);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the database is for its owner alone");
}

#[tokio::test]
async fn commits_reach_the_disk_and_references_are_kept() {
    let (_dir, store) = fresh().await;
    let settings = store.db.write("look", |writer| {
        let number = |writer: &mut AnyConnection, name: &str| {
            let query = diesel::sql_query(format!("SELECT {name} AS value FROM pragma_{name}"));
            query.get_result::<Number>(writer).map(|row| row.value)
        };
        Ok([number(writer, "synchronous")?, number(writer, "foreign_keys")?])
    });
    assert_eq!(settings.await.unwrap(), [2, 1]);
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_refused() {
    let (dir, store) = fresh().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    drop(store);
    let path = dir.path().join("hythe.db");
    let raise = |level: i32| {
        let mut direct = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        direct.batch_execute(&format!("UPDATE schema_info SET min_binary = {level}")).unwrap();
    };
    raise(crate::migrate::LEVEL + 1);
    let refused = Store::open(&path).await.err().expect("it is too new");
    assert!(matches!(refused, StoreError::SchemaTooNew { needed: 2, ours: 1 }), "{refused}");
    assert!(Fault::from(refused).to_string().contains("store/schema-too-new"));
    raise(crate::migrate::LEVEL);
    assert_eq!(Store::open(&path).await.unwrap().tools().await.unwrap().len(), 1, "and nothing was touched");
}

#[tokio::test]
async fn a_file_of_an_older_program_goes_on() {
    let (dir, store) = fresh().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    store.enqueue_build(new_build("weather")).await.unwrap();
    drop(store);
    let path = dir.path().join("hythe.db");
    let mut direct = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let back = "DROP TABLE leases; ALTER TABLE builds DROP COLUMN claimed_by; ALTER TABLE builds DROP COLUMN claimed_until; \
                UPDATE builds SET state = 'running'; DELETE FROM __diesel_schema_migrations WHERE version = '00000000000004'";
    direct.batch_execute(back).unwrap();
    let versions = "SELECT count(*) AS value FROM __diesel_schema_migrations \
                    WHERE version IN ('00000000000001', '00000000000002', '00000000000003')";
    let old = diesel::sql_query(versions).get_result::<Number>(&mut direct).unwrap();
    assert_eq!(old.value, 3, "the names that every program before has written");
    let again = Store::open(&path).await.unwrap();
    assert_eq!(again.expired_claims().await.unwrap().len(), 1, "nobody claims what the old program ran");
    assert!(again.acquire_lease("tool/weather", "a", LONG).await.unwrap().is_some());
}

#[tokio::test]
async fn something_else_than_a_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hythe.db");
    std::fs::write(&path, "this is not a database, and it is long enough to be read as one".repeat(40))
        .unwrap();
    assert!(matches!(Store::open(&path).await.err(), Some(StoreError::Open { .. })));
    let nowhere = dir.path().join("no/such/folder/hythe.db");
    assert!(matches!(Store::open(&nowhere).await.err(), Some(StoreError::Open { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_is_whole_while_writing_goes_on() {
    let (dir, store) = fresh().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for _ in 0..100 {
                store.create_release(new_release("weather", None)).await.unwrap();
            }
        }
    });
    let copy = dir.path().join("copy.db");
    store.backup_to(&copy).await.unwrap();
    writer.await.unwrap();
    assert!(matches!(store.backup_to(&copy).await, Err(StoreError::Backup { .. })), "nothing is overwritten");

    let restored = Store::open(&copy).await.unwrap();
    let releases = restored.releases(&tool("weather"), 1000).await.unwrap();
    let next = restored.create_release(new_release("weather", None)).await.unwrap();
    assert_eq!(next.number.0 as usize, releases.len() + 1, "numbers and rows are of one instant");
    assert_eq!(store.releases(&tool("weather"), 1000).await.unwrap().len(), 100);
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn readers_cannot_write() {
    let (_dir, store) = fresh().await;
    store.backup_to(&store.path().unwrap().with_extension("copy")).await.unwrap();
    for _ in 0..8 {
        let answer = store.db.read("write", |reader| {
            diesel::sql_query("DELETE FROM tools").execute(reader).map_err(Into::into)
        });
        assert!(answer.await.is_err());
    }
}

/// Run by `an_acknowledged_row_survives_a_kill` in a process of its own: writes releases for ever, and says each.
#[tokio::test]
#[ignore = "a part of another test"]
async fn write_until_killed() {
    let path = std::env::var("HYTHE_STORE_TEST_DB").expect("run by another test");
    let store = Store::open(std::path::PathBuf::from(path)).await.unwrap();
    loop {
        let release = store.create_release(new_release("weather", None)).await.unwrap();
        println!("written {}", release.number.0);
    }
}

#[tokio::test]
async fn an_acknowledged_row_survives_a_kill() {
    use std::io::{BufRead, BufReader};
    let (dir, store) = fresh().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    drop(store);
    let path = dir.path().join("hythe.db");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["tests::file::write_until_killed", "--exact", "--ignored", "--nocapture"])
        .env("HYTHE_STORE_TEST_DB", &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = 0;
    for line in lines.map_while(Result::ok) {
        let number = line.rsplit_once("written ").and_then(|(_, n)| n.trim().parse::<u32>().ok());
        acknowledged = number.unwrap_or(acknowledged);
        if acknowledged == 25 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged >= 25, "the writer wrote");
    let store = Store::open(&path).await.unwrap();
    let found = store.releases(&tool("weather"), 10_000).await.unwrap();
    assert!(found.len() >= acknowledged as usize, "{} of {acknowledged}", found.len());
    assert_eq!(found[0].number.0 as usize, found.len(), "no gap");
}
