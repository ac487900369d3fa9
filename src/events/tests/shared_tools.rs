//! Runtime logs that two servers share.

use super::shared::two;
use super::*;
use futures::future::BoxFuture;
use hythe_objects::SharedFolder;
use hythe_store::{Database, Store, StoreOptions};
use hythe_testing::Postgres;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Two servers with the tool `weather`, and their rows.
async fn servers(folder: &Path, limits: LogLimits) -> (LogStore, LogStore, Store) {
    let (servers, rows) = two(folder, limits).await;
    let [one, two] = servers;
    rows.create_tool(&weather(), None).await.unwrap();
    (one, two, rows)
}

fn place(number: u64) -> LinePlace {
    // Some lines have the same time.
    LinePlace {
        time: Timestamp::from_second(i64::try_from(number / 3).unwrap()).unwrap(),
        count: number % 3 + 1,
    }
}

/// Brings lines as a stream of a pod would; whether all were taken.
async fn bring(lines: &mut InstanceLines, numbers: std::ops::RangeInclusive<u64>) -> bool {
    for number in numbers {
        if !lines.take(place(number), format!("line {number}").as_bytes(), true).await {
            return false;
        }
    }
    true
}

async fn begin(store: &LogStore, instance: &str) -> InstanceLines {
    store.read_instance(&weather(), instance, None).await.unwrap().expect("it is wanted")
}

fn access(store: &LogStore, text: &str) {
    store.append_soon(&weather(), "router", LineSource::Access, text.to_owned());
}

fn numbered(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| format!("line {number}")).collect()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[tokio::test]
async fn every_server_shows_what_all_of_them_write() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two, _) = servers(folder.path(), LogLimits::default()).await;
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut follow = two.lines(&weather(), query.clone());
    let early = tokio::spawn(async move {
        let first = follow.next().await.unwrap().unwrap();
        (first, follow)
    });
    mask(&one, "hunter2");
    let mut lines = begin(&one, "v1.web.1").await;
    assert_eq!(lines.last(), None);
    assert!(lines.take(place(1), b"says hun", false).await);
    assert!(lines.take(place(1), b"ter2", true).await);
    let (first, mut follow) = tokio::time::timeout(Duration::from_secs(5), early).await.unwrap().unwrap();
    assert_eq!((first.position, first.text.as_str(), first.at), (1, "says [masked]", place(1).time));
    access(&two, "GET /two");
    let began = std::time::Instant::now();
    assert_eq!(follow.next().await.unwrap().unwrap().text, "GET /two");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    access(&one, "GET /one");
    assert_eq!(texts(&one, LogQuery::default()).await, ["says [masked]", "GET /two", "GET /one"]);
    assert_eq!(texts(&two, LogQuery::default()).await.len(), 3);
    let by = |query: LogQuery| texts(&two, query);
    assert_eq!(by(LogQuery { from: Some(3), ..LogQuery::default() }).await, ["GET /one"]);
    assert_eq!(by(LogQuery { tail: Some(2), ..LogQuery::default() }).await, ["GET /two", "GET /one"]);
    let router = LogQuery { tail: Some(1), instance: Some("v1.web".to_owned()), ..LogQuery::default() };
    assert_eq!(by(router).await, ["says [masked]"]);
    // A reader that goes on at the other server.
    let mut other = one.lines(&weather(), LogQuery { from: Some(3), ..query });
    assert_eq!(other.next().await.unwrap().unwrap().position, 3);
    assert!(!folder.path().join("a/tools/weather").exists(), "nothing is on a disk of its own");
}

#[tokio::test]
async fn whoever_reads_an_instance_next_goes_on_behind_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two, _) = servers(folder.path(), LogLimits::default()).await;
    let mut first = begin(&one, "v1.web.1").await;
    assert!(bring(&mut first, 1..=100).await && first.finish().await);
    // What was taken of a line without its end is read again.
    assert!(first.take(place(101), b"line", false).await);
    assert_eq!(first.last(), Some(place(100)));
    let mut second = begin(&two, "v1.web.1").await;
    assert_eq!(second.last(), Some(place(100)));
    assert!(bring(&mut second, 101..=200).await && second.finish().await);

    // The first one wakes up late, with what it had read.
    let _ = bring(&mut first, 101..=150).await;
    assert!(!first.finish().await && !bring(&mut first, 151..=160).await);
    let mut third = begin(&one, "v1.web.1").await;
    assert_eq!(third.last(), Some(place(200)));
    assert!(bring(&mut third, 201..=210).await && third.finish().await);
    let expected: Vec<String> = (1..=210).map(|number| format!("line {number}")).collect();
    assert_eq!(texts(&two, LogQuery::default()).await, expected);

    let ended = two.end_instance(&weather(), "v1.web.1", "exit code 3", None).await.unwrap();
    assert_eq!(ended.lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>(), numbered(161..=210));
    let again = one.end_instance(&weather(), "v1.web.1", "again", None).await.unwrap();
    assert_eq!((again.reason.as_str(), again.lines.len()), ("exit code 3", 50));
    assert_eq!(texts(&one, LogQuery { tail: Some(1), ..LogQuery::default() }).await, ["ended: exit code 3"]);
    assert!(
        one.read_instance(&weather(), "v1.web.1", None).await.unwrap().is_none(),
        "nothing more of it is wanted"
    );
    for server in [&one, &two] {
        assert_eq!(server.ended_instances(&weather()).await.unwrap(), std::slice::from_ref(&ended));
    }
}

#[tokio::test]
async fn a_long_log_becomes_objects_is_bounded_and_reads_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two, rows) = servers(folder.path(), small()).await;
    let objects = folder.path().join("objects/logs/tools");
    let mut lines = begin(&one, "v1.web.1").await;
    let mut follow = two.lines(&weather(), LogQuery { follow: true, ..LogQuery::default() });
    let reader = tokio::spawn(async move {
        let mut last: u64 = 0;
        while last < 6_000 {
            let line = follow.next().await.unwrap().unwrap();
            assert!(line.position > last, "none twice and in order");
            assert_eq!(line.text.split(' ').next().unwrap(), line.position.to_string());
            last = line.position;
        }
    });
    for number in 1..=6_000 {
        let text = format!("{number} {}", "x".repeat(100));
        assert!(lines.take(place(number), text.as_bytes(), true).await);
    }
    assert!(lines.finish().await);
    tokio::time::timeout(Duration::from_secs(20), reader).await.expect("it comes to the last line").unwrap();
    let log = rows.tool_log(&weather(), u64::MAX).await.unwrap().unwrap();
    // One after the other is made an object of, while the lines come.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let (kept, open) = loop {
        let segments = rows.segments(&log.log).await.unwrap();
        let kept: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let open = rows.log_state(&log.log).await.unwrap().unwrap().bytes;
        if !segments.is_empty() && open < 2 * (32 << 10) && kept <= small().tool_bytes {
            break (kept, open);
        }
        assert!(std::time::Instant::now() < deadline, "{kept} and {open} bytes are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let on_disk: u64 = walk(&objects).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(on_disk == kept && kept + open <= small().tool_bytes, "{on_disk} {kept} {open}");
    let all: Vec<LogLine> = two.lines(&weather(), LogQuery::default()).try_collect().await.unwrap();
    assert_eq!(all.last().unwrap().position, 6_000);
    assert!(all.windows(2).all(|pair| pair[1].position == pair[0].position + 1) && all.len() > 500);
    let from = all[all.len() / 2].position;
    let part: Vec<LogLine> = two
        .lines(&weather(), LogQuery { from: Some(from), ..LogQuery::default() })
        .try_collect()
        .await
        .unwrap();
    assert_eq!((part[0].position, part.len() as u64), (from, 6_001 - from));
    let last = one.last_lines(&weather(), "v1.web.1", 50).await.unwrap();
    assert_eq!((last.len(), last[0].position, last[49].position), (50, 5_951, 6_000));

    // What nobody names goes, once it is old.
    let own = walk(&objects)[0].parent().unwrap().to_owned();
    let orphan = own.join("00000000000000009000-00000000000000009001");
    std::fs::write(&orphan, "x").unwrap();
    assert_eq!(two.prune_tools().await.unwrap(), 0);
    let old = std::time::SystemTime::now() - Duration::from_hours(2);
    std::fs::File::options().write(true).open(&orphan).unwrap().set_modified(old).unwrap();
    assert_eq!(two.prune_tools().await.unwrap(), 1);
    two.remove_tool(&weather()).await.unwrap();
    assert!(walk(&objects).is_empty() && !texts(&one, LogQuery::default()).await.contains(&all[0].text));
}

/// The files below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() { walk(&path) } else { vec![path] }
    });
    below.collect()
}

#[tokio::test]
async fn a_removed_log_ends_its_readers_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two, rows) = servers(folder.path(), LogLimits::default()).await;
    access(&one, "one");
    let mut follow = two.lines(&weather(), LogQuery { follow: true, ..LogQuery::default() });
    one.settled().await;
    assert_eq!(follow.next().await.unwrap().unwrap().text, "one");
    let mut lines = begin(&two, "v1.web.1").await;
    one.remove_tool(&weather()).await.unwrap();
    rows.delete_tool(&weather()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), follow.next()).await;
    assert!(ended.expect("it comes to its end").is_none());
    let _ = bring(&mut lines, 1..=1).await;
    assert!(!lines.finish().await);
    assert!(two.read_instance(&weather(), "v1.web.1", None).await.unwrap().is_none());
    access(&two, "late");
    assert!(texts(&two, LogQuery::default()).await.is_empty());
    rows.create_tool(&weather(), None).await.unwrap();
    access(&two, "a new tool of the old name");
    assert_eq!(texts(&one, LogQuery::default()).await, [""; 0]);
    two.settled().await;
    assert_eq!(texts(&one, LogQuery::default()).await, ["a new tool of the old name"]);
}

#[tokio::test]
async fn what_is_masked_is_asked_for_and_nothing_is_stored_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two, rows) = servers(folder.path(), LogLimits::default()).await;
    let (broken, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let of = |broken: &Arc<AtomicBool>, asked: &Arc<AtomicUsize>| -> MaskerOf {
        let (broken, asked) = (broken.clone(), asked.clone());
        Arc::new(move |_, _| -> BoxFuture<'static, Result<Option<Masker>, Fault>> {
            asked.fetch_add(1, Ordering::SeqCst);
            let answer = if broken.load(Ordering::SeqCst) {
                Err(Fault::new("keys/missing", "A key is missing."))
            } else {
                Ok(Some(Masker::new(["hunter2"]).unwrap()))
            };
            Box::pin(std::future::ready(answer))
        })
    };
    one.mask_by(of(&broken, &asked));
    two.mask_by(of(&Arc::new(AtomicBool::new(true)), &asked));
    access(&one, "GET /?door=hunter2");
    access(&two, "GET /hunter2");
    two.settled().await;
    one.settled().await;
    access(&one, "GET /again");
    assert_eq!(texts(&one, LogQuery::default()).await, ["GET /?door=[masked]", "GET /again"]);
    assert_eq!(asked.load(Ordering::SeqCst), 2, "once each");
    // A change of the config may have come by any server: what is written first tells of it.
    let robin = hythe_model::Actor::Maintainer("robin".parse().unwrap());
    rows.change_config(&weather(), 0, Vec::new(), &robin).await.unwrap();
    for text in ["GET /", "GET /changed"] {
        access(&one, text);
        one.settled().await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    // What an instance holds that begins now is asked for anew.
    let mut lines = begin(&one, "v2.web.1").await;
    assert!(lines.take(place(1), b"hunter2", true).await && lines.finish().await);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    broken.store(true, Ordering::SeqCst);
    let mut lines = begin(&one, "v3.web.1").await;
    let _ = lines.take(place(1), b"hunter2", true).await;
    assert!(!lines.finish().await, "it is read again later");
    let shown = ["GET /", "GET /?door=[masked]", "GET /again", "GET /changed", "[masked]"];
    assert_eq!(sorted(texts(&one, LogQuery::default()).await), shown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_lets_sources_wait_and_loses_none_of_their_lines() {
    let (folder, server) = (tempfile::tempdir().unwrap(), Postgres::start());
    let options = StoreOptions { patience: Duration::from_millis(300), ..StoreOptions::default() };
    let rows = Store::open_with(Database::postgres(server.database()), options).await.unwrap();
    rows.create_tool(&weather(), None).await.unwrap();
    let objects = Arc::new(SharedFolder::open(folder.path()).unwrap());
    let shared = SharedPlace { store: rows, objects };
    let store = LogStore::open_shared(folder.path().join("own"), LogLimits::default(), shared).unwrap();
    let mut lines = begin(&store, "v1.web.1").await;
    assert!(bring(&mut lines, 1..=100).await && lines.finish().await);
    server.crash();
    let reader = tokio::spawn(async move {
        assert!(bring(&mut lines, 101..=20_000).await && lines.finish().await);
    });
    // One batch is being written all the time, and as much waits as may.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!reader.is_finished());
    for number in 0..10_000 {
        access(&store, &format!("GET /{number}"));
    }
    server.resume();
    tokio::time::timeout(Duration::from_secs(30), reader).await.expect("it goes on").unwrap();
    let shown: Vec<LogLine> = store.lines(&weather(), LogQuery::default()).try_collect().await.unwrap();
    let of = |source: LineSource| {
        shown
            .iter()
            .filter(move |line| line.source == source)
            .map(|line| line.text.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(LineSource::Out), numbered(1..=20_000));
    let kept = of(LineSource::Access).len();
    assert!(kept < 10_000, "{kept}");
    let left_out =
        format!("{} lines are left out here: they came faster than they are written", 10_000 - kept);
    assert_eq!(of(LineSource::Platform), [left_out]);
}

#[tokio::test]
async fn lines_of_one_server_alone_come_line_by_line_too() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let mut lines = begin(&store, "v1.web.1").await;
        assert!(bring(&mut lines, 1..=100).await && lines.finish().await);
    }
    let store = open(dir.path());
    let mut lines = begin(&store, "v1.web.1").await;
    assert_eq!(lines.last(), Some(place(100)));
    let mut stale = begin(&store, "v1.web.1").await;
    assert!(bring(&mut lines, 101..=110).await && lines.finish().await);
    let _ = bring(&mut stale, 101..=110).await;
    assert!(!stale.finish().await);
    let long = "y".repeat(300 << 10);
    assert!(
        lines.take(place(111), long.as_bytes(), false).await && lines.take(place(111), b"end", true).await
    );
    let ended = store.end_instance(&weather(), "v1.web.1", "exit code 3", None).await.unwrap();
    assert!(
        ended
            .lines
            .iter()
            .rev()
            .take(20)
            .map(|line| line.text.as_str())
            .collect::<String>()
            .starts_with("end")
    );
    let seen = texts(&store, LogQuery::default()).await;
    assert_eq!(seen[..110], numbered(1..=110));
    assert_eq!(seen[110..].concat(), format!("{long}endended: exit code 3"));
    assert!(store.read_instance(&weather(), "v1.web.1", None).await.unwrap().is_none());
    store.remove_tool(&weather()).await.unwrap();
    assert!(store.read_instance(&weather(), "v1.web.2", None).await.unwrap().is_none());
}

#[tokio::test]
async fn what_ended_so_long_ago_that_it_is_forgotten_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (shared, _, _) = servers(folder.path(), LogLimits::default()).await;
    let files = tempfile::tempdir().unwrap();
    let own = open(files.path());
    let at = |second: i64| Some(Timestamp::from_second(1_700_000_000 + second).unwrap());
    for store in [shared, own] {
        let is_wanted = async |instance: &str, ended| {
            store.read_instance(&weather(), instance, ended).await.unwrap().is_some()
        };
        // All of them ended while nobody read, and are read in some order.
        for number in 0..64 {
            assert!(is_wanted("v1.web.old", at(0)).await, "after {number} ends nothing was forgotten");
            let instance = format!("v1.tick.{number}");
            let end =
                store.end_instance(&weather(), &instance, "exit code 0", at(64 - number)).await.unwrap();
            assert_eq!(Some(end.at), at(64 - number));
        }
        assert!(!is_wanted("v1.web.old", at(0)).await);
        for ended in [at(1), at(20), Some(Timestamp::now()), None] {
            assert!(is_wanted("v1.web.new", ended).await, "what ended {ended:?} may never have been read");
        }
    }
}
