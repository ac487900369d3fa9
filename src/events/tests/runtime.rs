//! Runtime logs: what is asked for is what comes.

use super::*;
use jiff::Timestamp;

fn line(store: &LogStore, instance: &str, source: LineSource, text: &str) -> u64 {
    append(store, instance, source, text)
}

#[tokio::test]
async fn queries_choose_by_position_time_instance_source_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    line(&store, "v1.web.1", LineSource::Out, "one");
    line(&store, "v1.web.10", LineSource::Err, "two");
    tokio::time::sleep(Duration::from_millis(2)).await;
    let noon = Timestamp::now();
    line(&store, "router", LineSource::Access, "GET /");
    assert_eq!(line(&store, "v2.web.1", LineSource::Out, "three"), 4);
    assert_eq!(texts(&store, LogQuery::default()).await, ["one", "two", "GET /", "three"]);
    let by = |query: LogQuery| texts(&store, query);
    assert_eq!(by(LogQuery { from: Some(3), ..LogQuery::default() }).await, ["GET /", "three"]);
    assert_eq!(by(LogQuery { since: Some(noon), ..LogQuery::default() }).await, ["GET /", "three"]);
    assert_eq!(by(LogQuery { tail: Some(1), ..LogQuery::default() }).await, ["three"]);
    assert_eq!(by(LogQuery { tail: Some(0), ..LogQuery::default() }).await, [""; 0]);
    let instance = |name: &str| LogQuery { instance: Some(name.to_owned()), ..LogQuery::default() };
    assert_eq!(by(instance("v1.web.1")).await, ["one"]);
    assert_eq!(by(instance("v1.web")).await, ["one", "two"]);
    let sources = vec![LineSource::Err, LineSource::Access];
    assert_eq!(by(LogQuery { sources, ..LogQuery::default() }).await, ["two", "GET /"]);
}

#[tokio::test]
async fn a_follower_gets_the_stored_then_the_live_over_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), small()).unwrap();
    line(&store, "v1.web.1", LineSource::Out, "line 1");
    line(&store, "v1.web.1", LineSource::Out, "line 2");
    let query = LogQuery { follow: true, tail: Some(1), ..LogQuery::default() };
    let mut last = store.lines(&weather(), query);
    assert_eq!(last.next().await.unwrap().unwrap().text, "line 2");
    let query = LogQuery { follow: true, from: Some(2), ..LogQuery::default() };
    let follow = store.lines(&weather(), query).take(1_999);
    let reader = tokio::spawn(async move { follow.try_collect::<Vec<_>>().await.unwrap() });
    for number in 3..=2_000 {
        line(&store, "v1.web.1", LineSource::Out, &format!("line {number}"));
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(last.next().await.unwrap().unwrap().text, "line 3");
    let lines = tokio::time::timeout(Duration::from_secs(20), reader).await.unwrap().unwrap();
    for (line, number) in lines.iter().zip(2..) {
        assert_eq!((line.position, &line.text), (number, &format!("line {number}")));
    }
    assert!(store.tool_log(&weather()).unwrap().unwrap().segments().len() > 3, "it was rotated");
}

#[tokio::test]
async fn lines_of_a_crowd_come_soon_and_are_there_for_who_asks() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let access = |text: &str| store.append_soon(&weather(), "router", LineSource::Access, text.to_owned());
    let mut follow = store.lines(&weather(), LogQuery { follow: true, ..LogQuery::default() });
    access("one");
    assert_eq!(follow.next().await.unwrap().unwrap().text, "one");
    access("two");
    assert_eq!(follow.next().await.unwrap().unwrap().text, "two");
    access("three");
    assert_eq!(texts(&store, LogQuery::default()).await, ["one", "two", "three"]);
    store.remove_tool(&weather()).await.unwrap();
    access("late");
    store.settled().await;
    assert!(!dir.path().join("tools/weather").exists());
}

#[tokio::test]
async fn the_size_is_bounded_and_positions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let size = || -> u64 {
        let files = std::fs::read_dir(dir.path().join("tools/weather")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let store = LogStore::open(dir.path(), small()).unwrap();
    for number in 0..10_000 {
        line(&store, "v1.web.1", LineSource::Out, &format!("{number} {}", "x".repeat(80)));
    }
    assert!(size() <= small().tool_bytes, "{}", size());
    let kept: Vec<LogLine> = store.lines(&weather(), LogQuery::default()).try_collect().await.unwrap();
    assert_eq!(kept.last().unwrap().position, 10_000);
    assert!(kept.windows(2).all(|pair| pair[1].position == pair[0].position + 1), "no gap in what is kept");
    assert!(kept.len() > 500);
    drop(store);
    let again = LogStore::open(dir.path(), small()).unwrap();
    assert_eq!(line(&again, "v1.web.1", LineSource::Out, "on"), 10_001);
}

#[tokio::test]
async fn secrets_are_masked_and_long_lines_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), small()).unwrap();
    mask(&store, "hunter2");
    for text in ["connecting with hunter2".to_owned(), format!("{}hunter2", "x".repeat(997))] {
        store.append_soon(&weather(), "router", LineSource::Access, text);
    }
    let seen = texts(&store, LogQuery::default()).await;
    assert_eq!(seen[0], "connecting with [masked]");
    assert_eq!(seen[1..].concat(), format!("{}[masked]", "x".repeat(997)));
}

#[tokio::test]
async fn a_removed_log_ends_its_readers_and_takes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    line(&store, "v1.web.1", LineSource::Out, "one");
    let mut follow = store.lines(&weather(), LogQuery { follow: true, ..LogQuery::default() });
    assert_eq!(follow.next().await.unwrap().unwrap().text, "one");
    store.remove_tool(&weather()).await.unwrap();
    assert!(follow.next().await.is_none());
    assert!(!dir.path().join("tools/weather").exists());
    assert_eq!(line(&store, "router", LineSource::Access, "late"), 0);
    assert!(texts(&store, LogQuery::default()).await.is_empty());
    assert!(!dir.path().join("tools/weather").exists(), "what comes late begins no log");
    store.begin_tool(&weather());
    assert_eq!(line(&store, "v1.web.1", LineSource::Out, "a new tool of the old name"), 1);
}
