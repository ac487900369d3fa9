//! What tools print, where several servers write it: numbered, once, bounded.

use super::*;
use std::sync::Arc;

on_both!(
    lines_of_all_servers_are_numbered_and_none_comes_twice,
    a_source_goes_on_from_where_it_stands_alone,
    the_oldest_lines_become_segments_and_go,
    a_log_that_cannot_become_segments_is_shortened,
    what_is_told_of_ended_sources_is_bounded,
    a_log_goes_with_its_tool,
    servers_that_write_at_once_wait_for_each_other
);

fn lines(of: &str, texts: &[&str]) -> ToolLines {
    let lines = texts.iter().map(|text| (*text).to_owned()).collect();
    ToolLines { tool: tool(of), parts: vec![LogLines { lines, source: None }] }
}

fn read(of: &str, texts: &[&str], from: Option<&str>, to: &str) -> ToolLines {
    let mut lines = lines(of, texts);
    lines.parts[0].source = Some(SourceMove {
        name: "v1.web.1".to_owned(),
        from: from.map(str::to_owned),
        to: to.to_owned(),
        told: None,
    });
    lines
}

async fn write(store: &Store, writer: &str, number: u64, tools: Vec<ToolLines>) -> Vec<WrittenLog> {
    let batch = LogBatch { writer: writer.to_owned(), number, tools };
    store.append_tool_logs(Arc::new(batch)).await.unwrap()
}

/// All lines behind one, of pieces alone.
async fn stored(store: &Store, of: &str, after: u64) -> Vec<String> {
    let mut all = Vec::new();
    let mut at = after;
    loop {
        let part = store.tool_log(&tool(of), at).await.unwrap().unwrap();
        assert_eq!(part.segment, None);
        if part.pieces.is_empty() {
            return all;
        }
        for piece in part.pieces {
            for (number, line) in (piece.first..).zip(piece.lines) {
                if number > at {
                    assert_eq!(number, at + 1, "no gap");
                    at = number;
                    all.push(line);
                }
            }
        }
    }
}

async fn lines_of_all_servers_are_numbered_and_none_comes_twice(bed: Bed) {
    let (one, two) = (bed.open().await, bed.open().await);
    for name in ["weather", "quotes"] {
        one.create_tool(&tool(name), None).await.unwrap();
    }
    assert_eq!(one.tool_log(&tool("weather"), 0).await.unwrap(), None);
    let written = write(
        &one,
        "a",
        1,
        vec![lines("weather", &["one", "two"]), lines("gone", &["late"]), lines("quotes", &["q"])],
    )
    .await;
    let tools: Vec<_> = written.iter().map(|log| log.tool.as_str()).collect();
    assert_eq!(tools, ["weather", "quotes"], "what is gone takes nothing");
    assert_eq!((written[0].before, written[0].open), (OpenLog::default(), OpenLog { bytes: 8, pieces: 1 }));
    write(&two, "b", 1, vec![lines("weather", &["three"])]).await;
    // The answer was lost, and the batch comes once more.
    let again = write(&one, "a", 1, vec![lines("weather", &["one", "two"])]).await;
    assert_eq!(again[0].open, OpenLog { bytes: 14, pieces: 2 });
    write(&one, "a", 2, vec![lines("weather", &["four"])]).await;
    assert_eq!(stored(&two, "weather", 0).await, ["one", "two", "three", "four"]);
    assert_eq!(stored(&two, "weather", 1).await, ["two", "three", "four"]);
    let log = two.tool_log(&tool("weather"), 4).await.unwrap().unwrap();
    assert_eq!((log.last, log.pieces.len()), (4, 0));
    let reached = two.logs_reached(vec![log.log.clone(), "tools/0".to_owned()]).await.unwrap();
    assert_eq!(reached, [(log.log.clone(), LogReach { last: 4, ended: false })].into());
    let newest = two.log_pieces_before(&log.log, 5).await.unwrap();
    assert_eq!(newest.iter().map(|piece| piece.first).collect::<Vec<_>>(), [4, 3, 1]);
    assert_eq!(two.log_pieces_before(&log.log, 3).await.unwrap().len(), 1);
    // One line is longer than a piece, and many are several.
    let huge = "x".repeat(300 << 10);
    let many: Vec<&str> =
        std::iter::once(huge.as_str()).chain(std::iter::repeat_n("short", 60_000)).collect();
    write(&one, "a", 3, vec![lines("quotes", &many)]).await;
    assert_eq!(stored(&one, "quotes", 1).await, many);
}

async fn a_source_goes_on_from_where_it_stands_alone(bed: Bed) {
    let (one, two) = (bed.open().await, bed.open().await);
    one.create_tool(&tool("weather"), None).await.unwrap();
    assert_eq!(one.log_source(&tool("gone"), "v1.web.1").await.unwrap(), None);
    assert_eq!(one.log_source(&tool("weather"), "v1.web.1").await.unwrap(), Some(LogSource::default()));
    write(&one, "a", 1, vec![read("weather", &["1"], None, "one")]).await;
    let mut both = read("weather", &["2"], Some("one"), "two");
    both.parts.push(LogLines { lines: vec!["GET /".to_owned()], source: None });
    both.parts.extend(read("weather", &["3"], Some("two"), "three").parts);
    assert!(write(&two, "b", 1, vec![both.clone()]).await[0].refused.is_empty());
    let source = one.log_source(&tool("weather"), "v1.web.1").await.unwrap().unwrap();
    assert_eq!((source.read_to.as_deref(), source.told), (Some("three"), None));

    // One that woke up late says what has been said, beside a line of its own.
    let late = write(
        &one,
        "a",
        2,
        vec![{
            let mut late = read("weather", &["2"], Some("one"), "two");
            late.parts.push(LogLines { lines: vec!["GET /late".to_owned()], source: None });
            late
        }],
    )
    .await;
    assert_eq!(late[0].refused, ["v1.web.1"]);
    assert!(write(&two, "b", 1, vec![both]).await[0].refused.is_empty(), "it was written, and is no more");
    assert_eq!(stored(&one, "weather", 0).await, ["1", "2", "GET /", "3", "GET /late"]);
}

fn segment(log: &str, first: u64, last: u64, bytes: u64) -> LogSegment {
    LogSegment { log: log.to_owned(), first, last, bytes }
}

/// A log of ten pieces of two lines each, and its name.
async fn ten_pieces(bed: &Bed) -> (Store, String) {
    let store = bed.open().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    for number in 1..=10 {
        write(&store, "a", number, vec![lines("weather", &["one", "two"])]).await;
    }
    let log = store.tool_log(&tool("weather"), 0).await.unwrap().unwrap().log;
    (store, log)
}

async fn the_oldest_lines_become_segments_and_go(bed: Bed) {
    let (store, log) = ten_pieces(&bed).await;
    let closed = store.close_segment(segment(&log, 1, 4, 16), 2, 40).await.unwrap();
    assert_eq!(closed, Some(Vec::new()));
    // Another server had the same thought, with what it saw then.
    assert_eq!(store.close_segment(segment(&log, 1, 6, 24), 3, 40).await.unwrap(), None);
    let part = store.tool_log(&tool("weather"), 3).await.unwrap().unwrap();
    assert_eq!((part.segment, part.pieces), (Some(segment(&log, 1, 4, 16)), Vec::new()));
    let part = store.tool_log(&tool("weather"), 4).await.unwrap().unwrap();
    assert_eq!((part.segment, part.pieces[0].first), (None, 5));
    assert_eq!(store.log_state(&log).await.unwrap().unwrap().bytes, 64);
    store.close_segment(segment(&log, 5, 8, 16), 2, 40).await.unwrap().unwrap();
    let gone = store.close_segment(segment(&log, 9, 12, 16), 2, 40).await.unwrap();
    assert_eq!(gone, Some(vec![segment(&log, 1, 4, 16)]), "the oldest goes");
    assert_eq!(store.segments(&log).await.unwrap(), [segment(&log, 5, 8, 16), segment(&log, 9, 12, 16)]);
    assert_eq!(store.last_segment(&log).await.unwrap(), Some(segment(&log, 9, 12, 16)));
    let part = store.tool_log(&tool("weather"), 0).await.unwrap().unwrap();
    assert_eq!((part.segment, part.last), (Some(segment(&log, 5, 8, 16)), 20));
    assert_eq!(write(&store, "a", 11, vec![lines("weather", &["on"])]).await[0].open.pieces, 5);
    assert_eq!(store.idle_logs(Duration::ZERO, 1).await.unwrap(), [log]);
    assert!(store.idle_logs(LONG, 1).await.unwrap().is_empty());
    assert!(store.idle_logs(Duration::ZERO, 1 << 20).await.unwrap().is_empty(), "it is not worth it");
    store.forget_log_writers(LONG).await.unwrap();
    store.forget_log_writers(Duration::ZERO).await.unwrap();
}

async fn a_log_that_cannot_become_segments_is_shortened(bed: Bed) {
    let (store, log) = ten_pieces(&bed).await;
    assert_eq!(store.trim_log(&log, 100).await.unwrap(), 0);
    assert_eq!(store.trim_log(&log, 30).await.unwrap(), 14);
    assert_eq!(store.tool_log(&tool("weather"), 0).await.unwrap().unwrap().pieces[0].first, 15);
    assert_eq!(
        write(&store, "a", 11, vec![lines("weather", &["on"])]).await[0].open,
        OpenLog { bytes: 27, pieces: 4 }
    );
    assert_eq!(store.tool_log(&tool("weather"), 0).await.unwrap().unwrap().last, 21);
}

async fn what_is_told_of_ended_sources_is_bounded(bed: Bed) {
    let store = bed.open().await;
    let weather = tool("weather");
    store.create_tool(&weather, None).await.unwrap();
    assert_eq!(store.ended_log_sources(&weather).await.unwrap(), [""; 0]);
    let name = |number: u64| format!("v1.web.{number}");
    write(&store, "a", 1, vec![read("weather", &["runs"], None, "one")]).await;
    for number in 2..=80 {
        let mut ended = read("weather", &["ended"], None, "end");
        let source = ended.parts[0].source.as_mut().unwrap();
        (source.name, source.told) = (name(number), Some(format!("told of {number}")));
        write(&store, "a", number, vec![ended]).await;
    }
    let told = store.ended_log_sources(&weather).await.unwrap();
    assert_eq!((told.len(), told[0].as_str(), told[19].as_str()), (20, "told of 80", "told of 61"));
    let source = async |number| store.log_source(&weather, &name(number)).await.unwrap().unwrap();
    assert_eq!(source(61).await.told.as_deref(), Some("told of 61"));
    assert_eq!(source(60).await.told.as_deref(), Some(""), "that it has ended is known for longer");
    assert_eq!(source(17).await.told.as_deref(), Some(""));
    assert_eq!(source(16).await, LogSource::default());
    assert_eq!(source(1).await.read_to.as_deref(), Some("one"), "what runs is not forgotten");

    // More than a tool can have at once: their ends were not seen.
    let mut many = read("weather", &[], None, "");
    let part = |number: u64| {
        let mut begun = read("weather", &["runs"], None, "here").parts.remove(0);
        begun.source.as_mut().unwrap().name = name(number);
        begun
    };
    many.parts = (1001..4001).map(part).collect();
    write(&store, "a", 81, vec![many]).await;
    let mut ended = read("weather", &["ended"], Some("here"), "end");
    let source_of_it = ended.parts[0].source.as_mut().unwrap();
    (source_of_it.name, source_of_it.told) = (name(4000), Some("told".to_owned()));
    write(&store, "a", 82, vec![ended]).await;
    assert_eq!(source(1).await.read_to.as_deref(), Some("one"), "so many may be open");
    let mut ended = part(4001);
    ended.source.as_mut().unwrap().told = Some("told".to_owned());
    let both = ToolLines { tool: tool("weather"), parts: vec![part(4002), ended] };
    write(&store, "a", 83, vec![both]).await;
    assert_eq!(source(1).await, LogSource::default());
    assert_eq!(source(1001).await.read_to.as_deref(), Some("here"));
}

async fn a_log_goes_with_its_tool(bed: Bed) {
    let store = bed.open().await;
    let weather = tool("weather");
    store.create_tool(&weather, None).await.unwrap();
    write(&store, "a", 1, vec![read("weather", &["one"], None, "one")]).await;
    let log = store.tool_log(&weather, 0).await.unwrap().unwrap().log;
    store.close_segment(segment(&log, 1, 1, 4), 1, 40).await.unwrap().unwrap();
    write(&store, "a", 2, vec![lines("weather", &["two"])]).await;
    store.remove_log(&log).await.unwrap();
    assert_eq!(store.tool_log(&weather, 0).await.unwrap(), None);
    assert!(store.segments(&log).await.unwrap().is_empty());
    // A line comes late, and goes with the tool's row.
    write(&store, "a", 3, vec![lines("weather", &["late"])]).await;
    store.delete_tool(&weather).await.unwrap();
    assert_eq!(store.log_state(&log).await.unwrap(), None);
    store.create_tool(&weather, None).await.unwrap();
    write(&store, "a", 4, vec![read("weather", &["another's"], None, "one")]).await;
    let part = store.tool_log(&weather, 0).await.unwrap().unwrap();
    assert!(part.log != log && part.pieces[0].lines == ["another's"]);
}

async fn servers_that_write_at_once_wait_for_each_other(bed: Bed) {
    let store = bed.open().await;
    let names: Vec<String> = (0..20).map(|number| format!("tool{number}")).collect();
    for name in &names {
        store.create_tool(&tool(name), None).await.unwrap();
    }
    let servers = (0..4).map(|server: usize| {
        let (database, names) = (bed.database.clone(), names.clone());
        tokio::spawn(async move {
            let store = Store::open(database).await.unwrap();
            for number in 1..=25 {
                let mut tools: Vec<_> = names.iter().map(|name| lines(name, &["one", "two"])).collect();
                // Not in the order of the others.
                tools.rotate_left(server * 5);
                write(&store, &server.to_string(), number, tools).await;
            }
        })
    });
    for server in servers.collect::<Vec<_>>() {
        server.await.unwrap();
    }
    for name in &names {
        assert_eq!(stored(&store, name, 0).await.len(), 200);
    }
}
