//! Instances' own logs: whatever is killed when, every line comes once.

use super::*;
use std::fmt::Write;
use std::path::PathBuf;

/// Writes as the helper does.
struct Helper {
    dir: PathBuf,
    number: u64,
    nanos: u64,
}

impl Helper {
    fn new(dir: PathBuf) -> Self {
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir, number: 1, nanos: 1_700_000_000_000_000_000 }
    }

    fn raw(&self, bytes: &[u8]) {
        use std::io::Write;
        let path = self.dir.join(format!("{:010}.log", self.number));
        std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(bytes).unwrap();
    }

    fn lines(&mut self, lines: &[(char, &str)]) {
        let mut text = String::new();
        for (stream, line) in lines {
            self.nanos += 1;
            writeln!(text, "{} {stream} {line}", self.nanos).unwrap();
        }
        self.raw(text.as_bytes());
    }

    fn out(&mut self, from: u64, to: u64) {
        (from..=to).for_each(|number| self.lines(&[('o', &format!("line {number}"))]));
    }
}

fn log(helper: &Helper) -> InstanceLog {
    InstanceLog { tool: weather(), instance: "v1.web.1".to_owned(), dir: helper.dir.clone() }
}

fn numbered(to: u64) -> Vec<String> {
    (1..=to).map(|number| format!("line {number}")).collect()
}

#[tokio::test]
async fn lines_arrive_in_order_with_their_time_and_stream() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("logs"));
    let mut helper = Helper::new(dir.path().join("own"));
    mask(&store, "hunter2");
    store.follow_instance(log(&helper)).unwrap();
    store.follow_instance(log(&helper)).unwrap();
    helper.lines(&[('o', "started"), ('e', "warning: hunter2"), ('o', "")]);
    helper.raw(b"1700000000000000009 o half");
    assert_eq!(wait_for(&store, 3).await, ["started", "warning: [masked]", ""]);
    helper.raw(b" a line\n");
    helper.number = 2;
    helper.lines(&[('o', "in the next file")]);
    let seen = wait_for(&store, 5).await;
    assert_eq!(seen[3..], ["half a line", "in the next file"]);
    let lines: Vec<LogLine> = store.lines(&weather(), LogQuery::default()).try_collect().await.unwrap();
    assert_eq!(lines[0].at.as_nanosecond(), 1_700_000_000_000_000_001);
    assert_eq!(lines[1].source, LineSource::Err);
    assert_eq!(lines[4].instance, "v1.web.1");
}

#[tokio::test]
async fn a_restart_neither_loses_nor_repeats_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut helper = Helper::new(dir.path().join("own"));
    let mut written = 0;
    for round in 1..=6 {
        let store = open_small(&dir.path().join("logs"));
        store.follow_instance(log(&helper)).unwrap();
        helper.out(written + 1, written + 40);
        written += 40;
        let seen = wait_for(&store, usize::try_from(written).unwrap() - 20).await;
        assert_eq!(seen, numbered(seen.len() as u64));
        helper.number += round % 2;
        // The server is gone from here on; what follows is written while it is away.
        drop(store);
        helper.out(written + 1, written + 10);
        written += 10;
    }
    let store = open_small(&dir.path().join("logs"));
    store.follow_instance(log(&helper)).unwrap();
    let ended = store.end_instance(&weather(), "v1.web.1", "exit code 1", None).await.unwrap();
    let mut expected = numbered(written);
    assert_eq!(ended.lines.len(), 50);
    assert_eq!(ended.lines.last().unwrap().text, *expected.last().unwrap());
    expected.push("ended: exit code 1".to_owned());
    assert_eq!(texts(&store, LogQuery::default()).await, expected);

    store.follow_instance(log(&helper)).unwrap();
    let twice = store.end_instance(&weather(), "v1.web.1", "again", None).await.unwrap();
    assert_eq!(twice.reason, "exit code 1");
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(
        texts(&store, LogQuery::default()).await.len(),
        expected.len(),
        "what ended is not read again"
    );
}

#[tokio::test]
async fn a_batch_that_was_torn_by_a_kill_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let mut helper = Helper::new(dir.path().join("own"));
    helper.out(1, 30);
    {
        let store = open(&logs);
        store.follow_instance(log(&helper)).unwrap();
        assert_eq!(wait_for(&store, 30).await, numbered(30));
    }
    let segment = logs.join("tools/weather/00000000000000000001.log");
    let whole = std::fs::read(&segment).unwrap();
    let head = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in (head..whole.len()).step_by(97) {
        std::fs::write(&segment, &whole[..cut]).unwrap();
        let store = open(&logs);
        store.follow_instance(log(&helper)).unwrap();
        assert_eq!(wait_for(&store, 30).await, numbered(30), "cut at {cut}");
    }
}

#[tokio::test]
async fn positions_survive_the_rotation_of_the_log_that_holds_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut helper = Helper::new(dir.path().join("own"));
    helper.out(1, 5);
    {
        let store = open_small(&dir.path().join("logs"));
        store.follow_instance(log(&helper)).unwrap();
        wait_for(&store, 5).await;
        for _ in 0..8_000 {
            append(&store, "router", LineSource::Access, &"x".repeat(60));
        }
        let first = store.lines(&weather(), LogQuery::default()).next().await.unwrap().unwrap();
        assert!(first.position > 5, "the instance's lines are gone");
    }
    let store = open_small(&dir.path().join("logs"));
    store.follow_instance(log(&helper)).unwrap();
    helper.out(6, 6);
    let ended = store.end_instance(&weather(), "v1.web.1", "stopped", None).await.unwrap();
    assert_eq!(ended.lines.iter().map(|line| &line.text).collect::<Vec<_>>(), ["line 6"]);
}

#[tokio::test]
async fn files_that_went_unread_are_said_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let mut helper = Helper::new(dir.path().join("own"));
    helper.out(1, 2);
    {
        let store = open(&dir.path().join("logs"));
        store.follow_instance(log(&helper)).unwrap();
        wait_for(&store, 2).await;
    }
    std::fs::remove_file(helper.dir.join("0000000001.log")).unwrap();
    helper.number = 4;
    helper.out(9, 9);
    let store = open(&dir.path().join("logs"));
    store.follow_instance(log(&helper)).unwrap();
    let seen = wait_for(&store, 4).await;
    let gap = "lines may be missing: files before 4 were gone before they were read to their end";
    assert_eq!(seen, ["line 1", "line 2", gap, "line 9"]);
}

#[tokio::test]
async fn files_that_were_rotated_away_under_the_reader_are_said_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("logs"));
    let mut helper = Helper::new(dir.path().join("own"));
    store.follow_instance(log(&helper)).unwrap();
    helper.out(1, 2);
    wait_for(&store, 2).await;
    // The file that the reader has open goes, and the two after it were never seen.
    std::fs::remove_file(helper.dir.join("0000000001.log")).unwrap();
    helper.number = 4;
    helper.out(9, 9);
    let seen = wait_for(&store, 4).await;
    let gap = "lines may be missing: files before 4 were gone before they were read to their end";
    assert_eq!(seen, ["line 1", "line 2", gap, "line 9"]);
}

#[tokio::test(start_paused = true)]
async fn what_prints_fast_is_read_without_a_pause() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("logs"));
    let mut helper = Helper::new(dir.path().join("own"));
    let many: Vec<_> = std::iter::repeat_n(('o', "x".repeat(1_000)), 8_000).collect();
    let many: Vec<_> = many.iter().map(|(stream, line)| (*stream, line.as_str())).collect();
    helper.lines(&many);
    helper.number = 2;
    helper.lines(&[('o', "the last one")]);
    // The clock of this test stands still while anything is read.
    let begun = tokio::time::Instant::now();
    store.follow_instance(log(&helper)).unwrap();
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut lines = store.lines(&weather(), query);
    while lines.next().await.unwrap().unwrap().text != "the last one" {}
    assert!(begun.elapsed() < Duration::from_millis(100), "it paused for {:?}", begun.elapsed());
}

#[tokio::test]
async fn what_could_not_be_read_has_not_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("logs"));
    let mut helper = Helper::new(dir.path().join("own"));
    store.follow_instance(log(&helper)).unwrap();
    helper.out(1, 2);
    wait_for(&store, 2).await;
    let second = helper.dir.join("0000000002.log");
    std::fs::create_dir(&second).unwrap();
    assert!(store.end_instance(&weather(), "v1.web.1", "exit code 1", None).await.is_err());
    assert!(store.ended_instances(&weather()).await.unwrap().is_empty());
    // The folder stayed, and the next server reads the rest of it.
    std::fs::remove_dir(&second).unwrap();
    helper.number = 2;
    helper.out(3, 3);
    store.follow_instance(log(&helper)).unwrap();
    let ended = store.end_instance(&weather(), "v1.web.1", "exit code 1", None).await.unwrap();
    assert_eq!(ended.lines.iter().map(|line| &line.text).collect::<Vec<_>>(), ["line 1", "line 2", "line 3"]);
}

#[tokio::test]
async fn a_secret_across_the_helpers_cut_is_masked() {
    const CUT: usize = 16 << 10;
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("logs"));
    mask(&store, "hunter2");
    let mut helper = Helper::new(dir.path().join("own"));
    store.follow_instance(log(&helper)).unwrap();
    let (head, tail) = (format!("{}hun", "x".repeat(CUT - 3)), "ter2 and more");
    helper.lines(&[('o', "before"), ('o', &head), ('e', &head)]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    helper.lines(&[('o', tail)]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    helper.lines(&[('e', tail), ('o', "after")]);
    let lines = wait_for(&store, 6).await;
    let text = lines.join("\n");
    assert!(!text.contains("hunter2") && !text.contains("ter2"), "{}", &text[text.len() - 200..]);
    assert_eq!(text.matches("[masked] and more").count() + text.matches("d] and more").count(), 2);
    assert_eq!((lines[0].as_str(), lines[lines.len() - 1].as_str()), ("before", "after"));
    let ended = store.end_instance(&weather(), "v1.web.1", "stopped", None).await.unwrap();
    assert_eq!(ended.lines.iter().filter(|line| line.text.ends_with("and more")).count(), 2, "once each");
}

#[tokio::test]
async fn an_endless_line_passes_in_bounded_pieces() {
    const CUT: usize = 16 << 10;
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("logs"));
    let mut helper = Helper::new(dir.path().join("own"));
    let piece = "y".repeat(CUT);
    for _ in 0..100 {
        helper.lines(&[('o', &piece)]);
    }
    store.follow_instance(log(&helper)).unwrap();
    store.end_instance(&weather(), "v1.web.1", "stopped", None).await.unwrap();
    let lines = texts(&store, LogQuery::default()).await;
    let bytes: usize = lines.iter().filter(|line| line.starts_with('y')).map(String::len).sum();
    assert_eq!(bytes, 100 * CUT);
}

#[tokio::test]
async fn the_last_of_the_ended_are_kept_however_chatty_the_others_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_small(&dir.path().join("logs"));
    for number in 1..=25 {
        let instance = format!("v1.web.1.{number}");
        let mut helper = Helper::new(dir.path().join(&instance));
        helper.lines(&[('e', &format!("I am {number}"))]);
        let follow = InstanceLog { tool: weather(), instance: instance.clone(), dir: helper.dir.clone() };
        store.follow_instance(follow).unwrap();
        store.end_instance(&weather(), &instance, "exit code 3", None).await.unwrap();
    }
    for _ in 0..8_000 {
        append(&store, "router", LineSource::Access, &"x".repeat(60));
    }
    let ended = store.ended_instances(&weather()).await.unwrap();
    assert_eq!(ended.len(), 20);
    assert_eq!((ended[0].instance.as_str(), ended[19].instance.as_str()), ("v1.web.1.25", "v1.web.1.6"));
    assert_eq!(ended[0].lines[0].text, "I am 25");
}

#[tokio::test]
async fn what_a_deleted_tool_left_behind_begins_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path().join("logs"), small()).unwrap();
    let mut helper = Helper::new(dir.path().join("own"));
    helper.out(1, 2);
    store.follow_instance(log(&helper)).unwrap();
    let ended = store.end_instance(&weather(), "v1.web.1", "stopped", None).await.unwrap();
    assert_eq!((ended.reason.as_str(), ended.lines.len()), ("stopped", 0));
    assert!(!dir.path().join("logs/tools/weather").exists());
}

#[tokio::test]
async fn names_that_could_leave_the_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for name in ["", "../x", "a/b", ".", "a b", &"x".repeat(300)] {
        let log = InstanceLog { tool: weather(), instance: name.to_owned(), dir: dir.path().join("x") };
        assert!(matches!(store.follow_instance(log), Err(EventsError::Name { .. })), "{name}");
        assert!(store.end_instance(&weather(), name, "x", None).await.is_err());
    }
}
