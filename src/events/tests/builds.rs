//! Build logs.

use super::*;

const BUILD: BuildId = BuildId(212);

#[tokio::test]
async fn readers_see_the_stored_and_the_live_and_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.append(BUILD, &output("one")).unwrap(), 1);
    let mut readers = Vec::new();
    for from in [0, 1, 2, 3] {
        let tail = store.tail(BUILD, from);
        readers.push(tokio::spawn(async move { tail.try_collect::<Vec<_>>().await.unwrap() }));
    }
    tokio::task::yield_now().await;
    assert_eq!(store.append(BUILD, &output("two")).unwrap(), 2);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(store.append(BUILD, &live()).unwrap(), 3);
    assert_eq!(store.append(BUILD, &output("after the end")).unwrap(), 3, "ignored");
    let late = store.tail(BUILD, 0).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(late.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(late[2].event, live());
    for (reader, skipped) in readers.into_iter().zip([0, 0, 1, 2]) {
        assert_eq!(reader.await.unwrap(), late[skipped..]);
    }
    assert_eq!(store.build_events(BUILD, 2).await.unwrap(), late[1..]);
    store.sync_build(BUILD).await.unwrap();
}

#[tokio::test]
async fn a_log_goes_on_after_a_restart_and_a_torn_line() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        store.append(BUILD, &output("one")).unwrap();
        store.append(BUILD, &output("two")).unwrap();
    }
    let path = dir.path().join("builds/212.log");
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"n\":3,\"at\"").unwrap();
    let store = open(dir.path());
    assert_eq!(store.append(BUILD, &output("three")).unwrap(), 3);
    store.append(BUILD, &live()).unwrap();
    let events = store.tail(BUILD, 0).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let again = open(dir.path());
    assert_eq!(again.append(BUILD, &output("late")).unwrap(), 4, "an end is an end after a restart, too");
}

#[tokio::test]
async fn secrets_are_masked_and_the_terminal_is_safe() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.mask_build(BUILD, Masker::new(["hunter2"]).unwrap());
    store.append(BUILD, &output("\x1b[2Jpassword hun\0ter2")).unwrap();
    let fault = Fault::new("build/failed", "It failed.").why("said hunter2");
    store.append(BUILD, &BuildEvent::Failed { fault }).unwrap();
    let bytes = std::fs::read_to_string(dir.path().join("builds/212.log")).unwrap();
    assert!(!bytes.contains("hunter2"));
    let events = store.build_events(BUILD, 0).await.unwrap();
    assert_eq!(events[0].event, output("password [masked]"));
}

#[tokio::test]
async fn a_secret_across_a_cut_is_masked() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), LogLimits { build_bytes: 1 << 20, ..small() }).unwrap();
    store.mask_build(BUILD, Masker::new(["hunter2"]).unwrap());
    store.append(BUILD, &output(&format!("{}hunter2 and more", "x".repeat(997)))).unwrap();
    let events = store.build_events(BUILD, 0).await.unwrap();
    let line = |event: &LoggedEvent| match &event.event {
        BuildEvent::Output { line, .. } => line.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(events.len(), 2);
    let shown: String = events.iter().map(line).collect();
    assert_eq!(shown, format!("{}[masked] and more", "x".repeat(997)));
}

#[tokio::test]
async fn a_full_log_says_so_and_still_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), small()).unwrap();
    for _ in 0..1000 {
        store.append(BUILD, &output(&"x".repeat(100))).unwrap();
    }
    let note = BuildEvent::Note { phase: Phase::Image, text: "2 of 7 layers new".to_owned(), millis: None };
    store.append(BUILD, &note).unwrap();
    store.append(BUILD, &output("more")).unwrap();
    store.append(BUILD, &live()).unwrap();
    let events = store.build_events(BUILD, 0).await.unwrap();
    assert!(events.len() < 40);
    let [.., full, image, end] = &events[..] else { panic!("{events:?}") };
    let BuildEvent::Note { text, .. } = &full.event else { panic!("{full:?}") };
    assert_eq!(text, "the log is full at 4.0 kB: what is printed from here on is left out");
    assert_eq!((&image.event, &end.event), (&note, &live()));
    assert!(events.iter().enumerate().all(|(index, event)| event.position == index as u64 + 1));
}

#[tokio::test]
async fn a_long_line_becomes_several() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), LogLimits { build_bytes: 1 << 20, ..small() }).unwrap();
    assert_eq!(store.append(BUILD, &output(&"é".repeat(1_200))).unwrap(), 3);
}

#[tokio::test]
async fn a_reader_of_a_removed_log_comes_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.append(BUILD, &output("one")).unwrap();
    let mut tail = store.tail(BUILD, 0);
    assert!(tail.next().await.is_some());
    store.remove_build(BUILD).await.unwrap();
    assert!(tail.next().await.is_none());
    assert!(!dir.path().join("builds/212.log").exists());
    store.remove_build(BUILD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_and_readers_agree() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let read = |store: LogStore| async move { store.tail(BUILD, 0).try_collect::<Vec<_>>().await.unwrap() };
    let readers: Vec<_> = (0..4).map(|_| tokio::spawn(read(store.clone()))).collect();
    let write = |store: LogStore, writer: usize| {
        for line in 0..500 {
            store.append(BUILD, &output(&format!("{writer} {line}"))).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = store.clone();
            scope.spawn(move || write(store, writer));
        }
    });
    store.append(BUILD, &live()).unwrap();
    for reader in readers {
        let events = reader.await.unwrap();
        assert_eq!(events.len(), 2001);
        assert!(events.iter().enumerate().all(|(index, event)| event.position == index as u64 + 1));
    }
}
