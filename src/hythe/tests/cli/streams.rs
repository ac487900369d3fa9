//! Build logs, runtime logs and one-off processes.

use crate::objects::build;
use crate::stage::{Stage, answer, attached, finish, lines};
use hythe_api::types::{BuildRecord, BuildState, EndedInstance, FromServer, LogLine, LogSource};
use hythe_model::{BuildEvent, Fault, Phase};
use insta::assert_snapshot;
use jiff::Timestamp;
use serde_json::json;

fn note(phase: Phase, text: &str, millis: Option<u64>) -> BuildEvent {
    BuildEvent::Note { phase, text: text.into(), millis }
}

fn records(first: u64, events: Vec<BuildEvent>) -> Vec<BuildRecord> {
    let record = |(position, event)| BuildRecord { position, at: Timestamp::UNIX_EPOCH, event };
    (first..).zip(events).map(record).collect()
}

fn live() -> BuildEvent {
    BuildEvent::Live { release: "v14".into(), url: "https://weather.tools.example.org".into(), millis: 8_140 }
}

#[test]
fn redeploy_shows_the_log_as_a_push_does() {
    let events = vec![
        note(Phase::Source, "312 files, 1.8 MB", Some(110)),
        note(Phase::Build, "pip              requirements.txt changed", None),
        BuildEvent::Output {
            phase: Phase::Build,
            line: "Collecting \u{1b}[32mhttpx\u{1b}[0m\u{1b}[2K".into(),
        },
        live(),
    ];
    let stage = Stage::new([
        ("POST /api/v1/tools/weather/redeploy", answer(&build(212, BuildState::Queued)).status(202)),
        ("GET /api/v1/builds/212/log?from=0&follow=true", lines(&records(1, events))),
    ]);
    assert_snapshot!(stage.run(&["redeploy", "--no-cache", "-t", "weather"]).shown());
    assert_eq!(stage.seen()[0].body, json!({ "no_cache": true }));
}

#[test]
fn attaching_to_a_build_that_fails_fails() {
    let fault = Fault::new("python/package-not-found", "The build failed: a package cannot be found.")
        .why("flaks==3.0 is not on the package index (line 3).");
    let failed = records(1, vec![note(Phase::Detect, "python 3.11", Some(90)), BuildEvent::Failed { fault }]);
    let newest = answer(&[build(212, BuildState::Failed)]);
    let stage = Stage::new([
        ("GET /api/v1/tools/weather/builds?limit=1", newest),
        ("GET /api/v1/builds/212/log?from=0&follow=true", lines(&failed)),
        ("GET /api/v1/builds/212", answer(&build(212, BuildState::Failed))),
        ("GET /api/v1/builds/212/log?from=0&follow=false", lines(&failed)),
    ]);
    assert_snapshot!(stage.run(&["builds", "attach", "-t", "weather"]).shown());
    // Reading the log of a failed build is no failure.
    let read = stage.run(&["logs", "--build", "212"]);
    assert_eq!(read.code, 0, "{read:?}");
    assert!(read.out.starts_with("Hythe  weather  main 4f2a91c \"Show wind in knots\"\n\n"), "{}", read.out);
}

#[test]
fn a_lost_connection_is_taken_up_where_it_broke() {
    let (first, rest) = (records(1, vec![note(Phase::Source, "3 files", None)]), records(2, vec![live()]));
    let stage = Stage::new([
        ("GET /api/v1/builds/212", answer(&build(212, BuildState::Running))),
        ("GET /api/v1/builds/212/log?from=0&follow=true", lines(&first).cut_off()),
        ("GET /api/v1/builds/212/log?from=2&follow=true", lines(&rest)),
    ]);
    let ran = stage.run(&["builds", "attach", "212"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("3 files") && ran.out.contains("v14 is live"), "{}", ran.out);
    assert_eq!(ran.out.matches("Hythe  weather").count(), 1, "{}", ran.out);
}

fn log_line(position: u64, source: LogSource, text: &str) -> LogLine {
    let at = "2026-11-20T12:00:01.5Z".parse().unwrap();
    LogLine { position, at, instance: "v14.web.1".into(), source, text: text.into() }
}

#[test]
fn logs_show_lines_and_take_out_what_moves_the_cursor() {
    let said = [
        log_line(1, LogSource::Out, "listening on 8080"),
        log_line(2, LogSource::Err, "warn\u{1b}]0;title\u{7}ing \u{1b}[31mred\u{1b}[0m"),
        log_line(3, LogSource::Platform, "exit code 1 after 0.8 s"),
    ];
    let stage = Stage::new([
        ("GET /api/v1/tools/weather/logs?tail=100&follow=false", lines(&said)),
        ("GET /api/v1/tools/weather/logs?tail=5&follow=false", lines::<LogLine>(&[])),
        ("GET /api/v1/tools/weather/logs?tail=100&follow=false", lines(&said)),
    ]);
    let shown = stage.run(&["logs", "-t", "weather"]).shown();
    let nothing = stage.run(&["logs", "-n", "5", "-t", "weather"]).shown();
    assert_snapshot!(shown + &nothing);
    let coloured = finish(stage.command(&["logs", "-t", "weather"]).env("CLICOLOR_FORCE", "1"), "");
    assert!(
        coloured.out.contains("\u{1b}[31mred") && !coloured.out.contains("\u{1b}]0;"),
        "{:?}",
        coloured.out
    );
}

#[test]
fn what_a_crash_printed_last_is_shown_with_its_reason() {
    let ended = |lines| EndedInstance {
        instance: "v14.web.1".into(),
        at: "2026-11-20T12:00:02Z".parse().unwrap(),
        reason: "exit 137, out of memory (128 MiB)".into(),
        lines,
    };
    let said = vec![
        log_line(1, LogSource::Out, "listening on 8080"),
        log_line(2, LogSource::Err, "warn\u{1b}[2Jing"),
        log_line(3, LogSource::Out, "eating"),
    ];
    let one = "GET /api/v1/tools/weather/instances/ended?limit=1";
    let stage = Stage::new([
        (one, answer(&[ended(said.clone())])),
        (one, answer(&[ended(said.clone())])),
        (one, answer(&json!([]))),
        ("GET /api/v1/tools/weather/instances/ended", answer(&[ended(said)])),
    ]);
    let run = |words: &str| stage.run(&words.split(' ').collect::<Vec<_>>());
    let shown = [
        run("logs --previous -t weather"),
        run("logs --previous -n 1 -t weather"),
        run("logs --previous -t weather"),
    ];
    assert_snapshot!(shown.iter().map(crate::stage::Ran::shown).collect::<String>());
    let all: Vec<EndedInstance> =
        serde_json::from_str(&run("logs --previous -t weather --json").out).unwrap();
    assert_eq!(all[0].lines.len(), 3);
}

const ATTACH: &str = "GET /api/v1/tools/weather/run/attach";

#[test]
fn run_passes_bytes_on_and_ends_as_the_process_did() {
    let said =
        [FromServer::Output(b"hello\n".into()), FromServer::Error(b"oops\n".into()), FromServer::Exit(7)];
    let fault = Fault::new("run/lost", "The platform lost sight of it.");
    let stage = Stage::new([
        (ATTACH, attached(&said)),
        (ATTACH, attached(&[FromServer::Failed(fault)])),
        (ATTACH, answer(&json!({ "id": "run/too-many", "what": "16 commands run already." })).status(429)),
    ]);
    let words = ["run", "-t", "weather", "--release", "v3", "--", "ls", "-l", "--json"];
    let ran = stage.run_with(&words, "select 1;");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (7, "hello\n", "oops\n"));
    let seen = stage.seen().remove(0);
    assert_eq!(seen.token.as_deref(), Some("hythe_secret"));
    assert_eq!(seen.body["start"], json!({ "release": "v3", "args": ["ls", "-l", "--json"] }));
    assert_eq!(seen.body["input"], "select 1;");
    let lost = stage.run(&["run", "-t", "weather", "web"]).shown();
    assert_snapshot!(lost + &stage.run(&["run", "-t", "weather", "web"]).shown());
}

#[test]
fn run_asks_for_a_shell_and_a_terminal() {
    let stage =
        Stage::new([(ATTACH, attached(&[FromServer::Exit(0)])), (ATTACH, attached(&[FromServer::Exit(0)]))]);
    let mut command = stage.command(&["run", "--shell", "--tty", "-t", "weather"]);
    let ran = finish(command.env("TERM", "screen"), "");
    assert_eq!(ran.code, 0, "{ran:?}");
    let start = &stage.seen()[0].body["start"];
    assert_eq!(start["terminal"], json!({ "kind": "screen", "rows": 24, "cols": 80 }));
    assert_eq!(start["args"][0], "sh");
    stage.run(&["run", "--shell", "--tty", "--no-tty", "-t", "weather"]);
    assert!(stage.seen()[1].body["start"].get("terminal").is_none());
    assert_eq!(stage.run(&["run", "-t", "weather"]).code, 2);
    assert_eq!(stage.run(&["run", "--shell", "-t", "weather", "ls"]).code, 2);
}

#[test]
fn run_prints_the_apis_own_objects() {
    let said = [FromServer::Output(b"hello\n".into()), FromServer::Exit(0)];
    let stage = Stage::new([(ATTACH, attached(&said))]);
    let ran = stage.run(&["run", "-t", "weather", "--json", "--", "ls"]);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines,
        [json!({ "kind": "stdout", "data": "aGVsbG8K" }), json!({ "kind": "exit", "code": 0 })]
    );
}

#[test]
fn following_goes_on_over_a_restart_of_the_server() {
    let stage = Stage::new([
        (
            "GET /api/v1/tools/weather/logs?tail=1&follow=true",
            lines(&[log_line(7, LogSource::Out, "one")]).cut_off(),
        ),
        ("GET /api/v1/tools/weather/logs?from=8&follow=true", lines(&[log_line(8, LogSource::Out, "two")])),
        // A server that drains closes the stream; a tool that was deleted meanwhile is an end.
        (
            "GET /api/v1/tools/weather/logs?from=9&follow=true",
            answer(&json!({ "id": "x", "what": "Gone." })).status(404),
        ),
    ]);
    let ran = stage.run(&["logs", "-f", "-n", "1", "-t", "weather"]);
    assert_eq!(ran.code, 3);
    let shown: Vec<_> = ran.out.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(shown, ["one", "two"]);
}
