//! Build logs that two servers share.

use super::*;
use hythe_objects::SharedFolder;
use hythe_store::Store;
use std::sync::Arc;

const BUILD: BuildId = BuildId(212);

/// Two servers' views of the same logs.
pub(super) async fn two(folder: &std::path::Path, limits: LogLimits) -> ([LogStore; 2], Store) {
    std::fs::create_dir_all(folder.join("objects")).unwrap();
    let store = Store::open(&folder.join("rows.db")).await.unwrap();
    let servers = ["a", "b"].map(|name| {
        let objects = Arc::new(SharedFolder::open(folder.join("objects")).unwrap());
        let place = SharedPlace { store: store.clone(), objects };
        LogStore::open_shared(folder.join(name), limits.clone(), place).unwrap()
    });
    (servers, store)
}

async fn all(store: &LogStore) -> Vec<LoggedEvent> {
    store.tail(BUILD, 0).try_collect().await.unwrap()
}

#[tokio::test]
async fn what_one_server_writes_another_reads_while_it_grows_and_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let ([one, two], _) = two(folder.path(), LogLimits::default()).await;
    let reader = |store: &LogStore, from| {
        let tail = store.tail(BUILD, from);
        tokio::spawn(async move { tail.try_collect::<Vec<_>>().await.unwrap() })
    };
    let early = reader(&two, 0);
    let mut live = two.tail(BUILD, 0);
    one.mask_build(BUILD, Masker::new(["hunter2"]).unwrap());
    one.append(BUILD, &output("one hunter2")).unwrap();
    let first = tokio::time::timeout(Duration::from_secs(5), live.next()).await.expect("it is told at once");
    assert_eq!(first.unwrap().unwrap().position, 1);
    two.append(BUILD, &output("two")).unwrap();
    two.sync_build(BUILD).await.unwrap();
    assert!(!one.has_ended(BUILD).await.unwrap());
    let third = reader(&one, 3);
    one.append(BUILD, &super::live()).unwrap();
    one.append(BUILD, &output("after the end")).unwrap();
    one.settled().await;

    let events = early.await.unwrap();
    let shown: Vec<_> = events.iter().map(|event| (event.position, event.event.clone())).collect();
    let masked = output("one ********");
    assert!(
        matches!(&shown[0], (1, BuildEvent::Output { line, .. }) if !line.contains("hunter2")),
        "{masked:?} {shown:?}"
    );
    assert_eq!(shown[1..], [(2, output("two")), (3, super::live())]);
    assert_eq!(third.await.unwrap(), events[2..]);

    // Once it is an object, readers find the same.
    let object = folder.path().join("objects/logs/builds/212");
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while !object.exists() {
        assert!(std::time::Instant::now() < deadline, "it becomes an object");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(all(&two).await, events);
    assert_eq!(two.build_events(BUILD, 2).await.unwrap(), events[1..]);
    two.append(BUILD, &output("late")).unwrap();
    two.settled().await;
    assert_eq!(all(&one).await, events, "an end is an end everywhere");
    assert_eq!(two.prune_builds(|_| false).await.unwrap(), 1);
    assert!(!object.exists());
    assert_eq!(one.build_events(BUILD, 0).await.unwrap(), []);
}

#[tokio::test]
async fn a_shared_log_is_bounded_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let limits = LogLimits { build_bytes: 2_000, ..LogLimits::default() };
    let ([one, two], _) = two(folder.path(), limits).await;
    for _ in 0..100 {
        one.append(BUILD, &output(&"x".repeat(100))).unwrap();
    }
    one.append(BUILD, &live()).unwrap();
    let events = all(&two).await;
    let lines = events.iter().filter(|event| matches!(event.event, BuildEvent::Output { .. })).count();
    assert!(lines < 20, "{lines}");
    assert!(
        matches!(&events[lines].event, BuildEvent::Note { text, .. } if text.contains("the log is full"))
    );
    assert_eq!(events.last().unwrap().event, live());
}
