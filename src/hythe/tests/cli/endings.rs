//! How runs end badly: words and exit codes.

use crate::stage::{Stage, answer, attached, finish, lines};
use hythe_api::types::FromServer;
use insta::assert_snapshot;
use serde_json::json;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

#[test]
fn slips_of_the_finger_are_usage() {
    let stage = Stage::new([]);
    let said = [
        "restrat",
        "tools lsit",
        "frobnicate",
        "rollback",
        "rollback thirteen",
        "scale web",
        "tools create A_B",
    ]
    .map(|words| stage.run(&words.split(' ').collect::<Vec<_>>()));
    assert!(said.iter().all(|ran| ran.code == 2), "{said:?}");
    assert_snapshot!(said.iter().map(crate::stage::Ran::shown).collect::<String>());
}

#[test]
fn words_that_are_no_text_are_usage() {
    let stage = Stage::new([]);
    let odd = OsStr::from_bytes(b"lsit\xff");
    let said =
        [&["tools"][..], &[], &["tools", "create"]].map(|words| finish(stage.command(words).arg(odd), ""));
    assert!(said.iter().all(|ran| ran.code == 2), "{said:?}");
    assert_snapshot!(said.iter().map(crate::stage::Ran::shown).collect::<String>());
}

#[test]
fn input_that_is_no_text_is_said_to_be_so() {
    let stage = Stage::new([]);
    let said = [&["config", "set", "K=-", "-t", "weather"][..], &["keys", "add", "-"]]
        .map(|words| finish(&mut stage.command(words), b"\xff\0"));
    assert!(stage.seen().is_empty(), "something was sent");
    assert_snapshot!(said.iter().map(crate::stage::Ran::shown).collect::<String>());
}

#[test]
fn no_tool_is_a_clear_error() {
    let stage = Stage::new([]);
    let named = |name: &str| finish(stage.command(&["releases"]).env("HYTHE_TOOL", name), "");
    let none = stage.run(&["releases"]).shown();
    assert_eq!(named("").shown(), none, "an empty variable counts as unset");
    assert_snapshot!(none + &named("A_B").shown());
    assert!(stage.seen().is_empty());
}

#[test]
fn refusals_are_told_with_their_id_and_code() {
    let fault = |id: &str, what: &str| answer(&json!({ "id": id, "what": what, "next": ["Do this."] }));
    let stage = Stage::new([
        (
            "GET /api/v1/tools/wether",
            fault("tools/absent", "There is no tool wether, or it is not yours.").status(404),
        ),
        ("GET /api/v1/tools", fault("api/unauthorized", "The token is wrong.").status(401)),
        ("GET /api/v1/tools", answer(&"<html>").status(502)),
        ("GET /api/v1/tools", fault("api/internal", "The platform failed to answer.").status(500)),
        ("GET /api/v1/tools", answer(&json!({ "not": "a list" }))),
    ]);
    let said = [
        stage.run(&["open", "-t", "wether"]),
        stage.run(&["tools", "list"]),
        stage.run(&["tools", "list"]),
        stage.run(&["tools", "list"]),
        stage.run(&["tools", "list"]),
    ];
    assert_eq!(said.iter().map(|ran| ran.code).collect::<Vec<_>>(), [3, 5, 4, 1, 1]);
    assert_snapshot!(said.iter().map(crate::stage::Ran::shown).collect::<String>());
}

#[test]
fn a_release_that_fails_is_told_and_with_json_as_an_object() {
    let fault = json!({
        "id": "rollout/crashed", "what": "The release failed: the web process exits before it listens.",
        "why": ["ModuleNotFoundError: No module named 'settings'"], "next": ["Try the image: hythe run --release v14 -- ls -la"],
    });
    let failed =
        || lines(&[json!({ "kind": "waiting", "millis": 9 }), json!({ "kind": "failed", "fault": fault })]);
    let stage = Stage::new([
        ("POST /api/v1/tools/weather/restart", failed()),
        ("POST /api/v1/tools/weather/restart", failed()),
    ]);
    assert_snapshot!(stage.run(&["restart", "-t", "weather"]).shown());
    let ran = stage.run(&["restart", "-t", "weather", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.err).unwrap(), fault);
}

#[test]
fn a_server_that_is_not_there() {
    let stage = Stage::new([]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran =
        finish(stage.command(&["tools", "list"]).env("HYTHE_URL", format!("http://127.0.0.1:{free}")), "");
    assert_eq!(ran.code, 4);
    assert_snapshot!(ran.shown().replace(&free.to_string(), "[port]"));
}

#[test]
fn a_reader_that_has_gone_is_no_panic() {
    let long = vec![FromServer::Output(vec![b'y'; 8 << 10]); 32];
    let stage = Stage::new([("GET /api/v1/tools/weather/run/attach", attached(&long))]);
    let mut command = stage.command(&["run", "-t", "weather", "yes"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(141), String::new()));
}

#[test]
fn colours_are_for_terminals() {
    let tools =
        || answer(&json!([crate::objects::tool("weather", hythe_api::types::ToolState::Healthy, Some(1))]));
    let stage = Stage::new([("GET /api/v1/tools", tools()), ("GET /api/v1/tools", tools())]);
    assert!(!stage.run(&["tools", "list"]).out.contains('\u{1b}'));
    let forced = finish(stage.command(&["tools", "list"]).env("CLICOLOR_FORCE", "1"), "");
    assert!(forced.out.contains("\u{1b}[32mhealthy"), "{:?}", forced.out);
}
