//! What each verb prints and asks.

use crate::objects::{build, commit, minutes_ago, release, tool, whoami};
use crate::stage::{Stage, answer, lines, nothing};
use hythe_api::types::{BuildState, Progress, ToolState};
use hythe_model::{BuildId, Fault, Formation, ReleaseCause, ReleaseNumber, ReleaseState};
use insta::assert_snapshot;
use serde_json::json;
use std::process::Command;

#[test]
fn tools_list_shows_what_is_not_well_first() {
    let mut quotes = tool("quotes", ToolState::Crashing, Some(3));
    quotes.since = Some(minutes_ago(8));
    quotes.detail = Some("exit 137, out of memory (128 MB)".into());
    let tools = [tool("weather", ToolState::Healthy, Some(14)), quotes, tool("new", ToolState::Empty, None)];
    let stage = Stage::new([("GET /api/v1/tools", answer(&tools))]);
    assert_snapshot!(stage.run(&["tools", "list"]).shown());
    assert_eq!(stage.seen()[0].token.as_deref(), Some("hythe_secret"));
}

#[test]
fn jobs_and_their_runs_are_lists() {
    let minutes = |minutes| jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes);
    let jobs = json!({
        "jobs": [
            {"name": "clean-up", "schedule": "30 4 * * 1-5", "command": "python clean_up.py", "next": minutes(125)},
            {"name": "tick", "schedule": "* * * * *", "command": "true", "next": null},
        ],
        "runs": [
            {"job": "clean-up", "run": "x7k2p", "release": "v14", "state": "running", "since": minutes_ago(3)},
            {"job": "clean-up", "run": "b4m9z", "release": "v13", "state": "failed", "since": minutes_ago(90),
             "exit": "exit code 1"},
        ],
    });
    let jobs = || ("GET /api/v1/tools/weather/jobs", answer(&jobs));
    let stage = Stage::new([jobs(), jobs(), ("POST /api/v1/tools/weather/runs/x7k2p/end", nothing())]);
    let said = ["jobs list -t weather", "jobs runs -t weather", "jobs end x7k2p -t weather"]
        .map(|words| stage.run(&words.split(' ').collect::<Vec<_>>()).shown());
    assert_snapshot!(said.concat());
}

#[test]
fn empty_lists_say_how_to_make_the_first() {
    let none = || answer(&json!([]));
    let stage = Stage::new([
        ("GET /api/v1/tools", none()),
        ("GET /api/v1/keys", none()),
        ("GET /api/v1/tokens", none()),
        ("GET /api/v1/tools/weather/builds?limit=20", none()),
        ("GET /api/v1/tools/weather/releases?limit=20", none()),
        ("GET /api/v1/tools/weather/config", none()),
        ("GET /api/v1/tools/weather/instances", none()),
        ("GET /api/v1/tools/weather/jobs", answer(&json!({"jobs": [], "runs": []}))),
        ("GET /api/v1/tools/weather/jobs", answer(&json!({"jobs": [], "runs": []}))),
    ]);
    let said = ["tools list", "keys list", "tokens list", "builds list -t weather", "releases -t weather"]
        .into_iter()
        .chain(["config list -t weather", "ps -t weather", "jobs list -t weather", "jobs runs -t weather"])
        .map(|words| stage.run(&words.split(' ').collect::<Vec<_>>()).shown());
    assert_snapshot!(said.collect::<String>());
}

#[test]
fn tools_info_shows_settings() {
    let mut weather = tool("weather", ToolState::Healthy, Some(14));
    weather.since = Some("2026-11-20T12:00:00Z".parse().unwrap());
    weather.created_at = "2020-01-01T12:00:00Z".parse().unwrap();
    weather.settings.health_path = Some("/healthz".into());
    weather.settings.memory_bytes = Some(256_000_000);
    let stage = Stage::new([("GET /api/v1/tools/weather", answer(&weather))]);
    let shown = stage.run(&["tools", "info", "weather"]).shown();
    insta::with_settings!({filters => vec![(r"\d+ d ago", "[days] d ago")]}, { assert_snapshot!(shown) });
}

#[test]
fn tools_set_changes_what_was_named_and_nothing_else() {
    let mut weather = tool("weather", ToolState::Empty, None);
    weather.settings.grace_seconds = Some(20);
    weather.settings.readiness_seconds = Some(90);
    let stage = Stage::new([
        ("GET /api/v1/tools/weather", answer(&weather)),
        ("PUT /api/v1/tools/weather/settings", answer(&weather)),
    ]);
    let ran = stage.run(&["tools", "set", "-t", "weather", "--branches", "trunk,live", "--readiness", "0"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let wanted =
        json!({ "deploy_branches": ["trunk", "live"], "grace_seconds": 20, "read_only_root": false });
    assert_eq!(stage.seen()[1].body, wanted);
}

fn git(stage: &Stage, args: &[&str]) -> String {
    let output = Command::new("git").args(args).current_dir(stage.home.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn tools_create_adds_the_remote_and_later_verbs_find_it() {
    let weather = tool("weather", ToolState::Empty, None);
    let stage = Stage::new([
        ("POST /api/v1/tools", answer(&weather).status(201)),
        ("GET /api/v1/tools/weather", answer(&weather)),
        ("POST /api/v1/tools", answer(&tool("quotes", ToolState::Empty, None)).status(201)),
    ]);
    git(&stage, &["init", "-q", "-b", "trunk"]);
    let made = stage.run(&["tools", "create", "weather"]).shown();
    assert_eq!(git(&stage, &["remote", "get-url", "hythe"]), "ssh://hythe.example.org/weather");
    let opened = stage.run(&["open"]).shown();
    let second = stage.run(&["tools", "create", "quotes"]).shown();
    assert_eq!(git(&stage, &["remote", "get-url", "hythe"]), "ssh://hythe.example.org/weather");
    assert_snapshot!([made, opened, second].concat());
}

#[test]
fn tools_create_outside_a_git_folder_says_what_to_do() {
    let stage =
        Stage::new([("POST /api/v1/tools", answer(&tool("weather", ToolState::Empty, None)).status(201))]);
    assert_snapshot!(stage.run(&["tools", "create", "weather"]).shown());
}

#[test]
fn deleting_asks_and_without_a_terminal_needs_yes() {
    let waited = [Progress::Waiting { millis: 1000 }, Progress::Done { release: None, millis: 61_000 }];
    let stage = Stage::new([("DELETE /api/v1/tools/weather", lines(&waited))]);
    let asked = stage.run(&["tools", "delete", "weather"]).shown();
    assert!(stage.seen().is_empty(), "something was sent");
    let done = stage.run(&["tools", "delete", "weather", "--yes"]).shown();
    assert_snapshot!([asked, done].concat());
}

#[test]
fn releases_read_as_history() {
    let code =
        |subject: &str| ReleaseCause::Code { commit: commit(), subject: subject.into(), build: BuildId(212) };
    let mut live = release(14, 130, code("Show wind in knots"));
    live.state = ReleaseState::Live;
    let config = release(13, 60 * 73, ReleaseCause::Config { keys: vec!["TIMEOUT".into()] });
    let mut failed = release(12, 60 * 121, code("Retry on 503"));
    failed.actor = hythe_model::Actor::DeployKey("weather".parse().unwrap());
    failed.state = ReleaseState::Failed;
    failed.fault = Some(Fault::new("rollout/crashed", "The release failed."));
    let scaled = ReleaseCause::Scale { formation: Formation([("web".parse().unwrap(), 2)].into()) };
    let releases = [live, config, failed, release(11, 60 * 24 * 9, scaled)];
    let stage = Stage::new([
        ("GET /api/v1/tools/weather/releases?limit=20", answer(&releases)),
        ("GET /api/v1/whoami", answer(&whoami())),
    ]);
    assert_snapshot!(stage.run(&["releases", "-t", "weather"]).shown());
}

#[test]
fn verbs_that_make_a_release_say_what_is_now_true() {
    let done = |release| {
        let waiting = Progress::Waiting { millis: 1000 };
        lines(&[waiting, Progress::Done { release: Some(Box::new(release)), millis: 912 }])
    };
    let kept = lines(&[Progress::Done { release: None, millis: 3 }]);
    let v15 = || release(15, 0, ReleaseCause::Rollback { to: ReleaseNumber(13) });
    let stage = Stage::new([
        ("POST /api/v1/tools/weather/rollback", done(v15())),
        ("POST /api/v1/tools/weather/restart", done(v15())),
        ("POST /api/v1/tools/weather/scale", done(v15())),
        ("PATCH /api/v1/tools/weather/config", done(v15())),
        ("PATCH /api/v1/tools/weather/config", kept),
    ]);
    let run = |words: &str| stage.run(&words.split(' ').collect::<Vec<_>>()).shown();
    let said = [
        run("rollback v13 -t weather"),
        run("restart -t weather"),
        run("scale web=1 worker=0 -t weather"),
        stage.run_with(&["config", "set", "A=1", "B=-", "--run", "-t", "weather"], "two\nlines\n").shown(),
        run("config unset A B -t weather"),
    ];
    assert_snapshot!(said.concat());
    let bodies: Vec<_> = stage.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies[0], json!({ "to": "v13" }));
    assert_eq!(bodies[2], json!({ "formation": { "web": 1, "worker": 0 } }));
    let set = json!([
        { "key": "A", "value": "1", "scope": "run" },
        { "key": "B", "value": "two\nlines", "scope": "run" },
    ]);
    assert_eq!(bodies[3], json!({ "set": set, "unset": [] }));
    assert_eq!(bodies[4], json!({ "set": [], "unset": ["A", "B"] }));
}

#[test]
fn builds_list_shows_where_each_ended() {
    let mut failed = build(212, BuildState::Failed);
    failed.fault = Some(Fault::new("python/package-not-found", "The build failed."));
    let mut done = build(211, BuildState::Succeeded);
    done.release = Some(ReleaseNumber(14));
    let builds = [build(213, BuildState::Running), failed, done];
    let stage = Stage::new([("GET /api/v1/tools/weather/builds?limit=20", answer(&builds))]);
    assert_snapshot!(stage.run(&["builds", "list", "-t", "weather"]).shown());
}

#[test]
fn ps_shows_crashes_with_their_reason_and_canaries() {
    let instance = |index: u32, state: &str, exit: Option<&str>| {
        json!({
            "id": format!("weather.v14.web.{index}"), "process": "web", "place": index.to_string(), "release": "v14",
            "state": state, "since": minutes_ago(3), "restarts": index - 1, "last_exit": exit,
        })
    };
    let mut canary = instance(3, "ready", Some("exit code 1"));
    canary["canary"] = true.into();
    let instances = [
        instance(1, "ready", None),
        instance(2, "crashed", Some("exit 137, out of memory (128 MB)")),
        canary,
    ];
    let stage = Stage::new([("GET /api/v1/tools/weather/instances", answer(&instances))]);
    assert_snapshot!(stage.run(&["ps", "-t", "weather"]).shown());
}

#[test]
fn keys_are_found_added_and_removed() {
    let key = json!({
        "fingerprint": "SHA256:a/b+c", "algorithm": "ssh-ed25519", "name": "robin@laptop",
        "created_at": minutes_ago(61), "last_used_at": null,
    });
    let stage = Stage::new([
        ("POST /api/v1/keys", answer(&key).status(201)),
        ("GET /api/v1/keys", answer(&json!([key]))),
        ("DELETE /api/v1/keys/SHA256:a%2Fb+c", nothing()),
        ("GET /api/v1/tools/weather/keys", answer(&json!([]))),
    ]);
    let none = stage.run(&["keys", "add"]);
    let ssh = stage.home.path().join(".ssh");
    std::fs::create_dir(&ssh).unwrap();
    std::fs::write(ssh.join("id_ed25519"), "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    std::fs::write(ssh.join("id_ed25519.pub"), "ssh-ed25519 AAAA robin@laptop\n").unwrap();
    std::fs::write(ssh.join("other.pub"), "ssh-ed25519 BBBB x\n").unwrap();
    let private = stage.run(&["keys", "add", ssh.join("id_ed25519").to_str().unwrap()]);
    assert!(stage.seen().is_empty(), "a private key was sent");
    let said = [
        none,
        private,
        stage.run(&["keys", "add"]),
        stage.run(&["keys", "list"]),
        stage.run(&["keys", "remove", "SHA256:a/b+c"]),
        stage.run(&["keys", "list", "--deploy", "-t", "weather"]),
    ];
    assert_eq!(stage.seen()[0].body, json!({ "key": "ssh-ed25519 AAAA robin@laptop" }));
    let shown: String = said.iter().map(crate::stage::Ran::shown).collect();
    assert_snapshot!(shown.replace(stage.home.path().to_str().unwrap(), "~"));
}

#[test]
fn tokens_print_their_secret_alone_on_standard_output() {
    let token = json!({
        "id": 3, "name": "ci", "created_at": minutes_ago(1), "expires_at": "2099-01-01T00:00:00Z", "last_used_at": null,
    });
    let issued = json!({ "token": token, "secret": "hythe_new" });
    let stage = Stage::new([
        ("POST /api/v1/tokens", answer(&issued).status(201)),
        ("DELETE /api/v1/tokens/3", nothing()),
    ]);
    let made = stage.run(&["tokens", "create", "ci", "--expires", "30"]);
    assert_eq!(made.out, "hythe_new\n");
    assert_eq!(stage.seen()[0].body, json!({ "name": "ci", "expires_in": 2_592_000 }));
    assert_snapshot!([made.shown(), stage.run(&["tokens", "revoke", "3"]).shown()].concat());
}

#[test]
fn maintainers_and_accounts() {
    let account = json!({ "name": "kim", "admin": false, "created_at": minutes_ago(1) });
    let token = json!({ "id": 1, "name": "first", "created_at": minutes_ago(0), "expires_at": null, "last_used_at": null });
    let made = json!({ "account": account, "first_token": { "token": token, "secret": "hythe_kim" } });
    let stage = Stage::new([
        ("POST /api/v1/accounts", answer(&made).status(201)),
        ("GET /api/v1/accounts", answer(&json!([account]))),
        ("PUT /api/v1/tools/weather/maintainers/kim", answer(&json!({ "name": "kim", "role": "owner" }))),
        ("GET /api/v1/tools/weather/maintainers", answer(&json!([{ "name": "kim", "role": "owner" }]))),
        ("DELETE /api/v1/tools/weather/maintainers/kim", nothing()),
    ]);
    let run = |words: &str| stage.run(&words.split(' ').collect::<Vec<_>>()).shown();
    let said = [
        run("accounts create kim"),
        run("accounts list"),
        run("maintainers add kim --role owner -t weather"),
        run("maintainers list -t weather"),
        run("maintainers remove kim -t weather"),
    ];
    assert_snapshot!(said.concat());
}

#[test]
fn config_list_hides_values_until_asked() {
    let entry = |value: Option<&str>| json!([{ "key": "URL", "scope": "both", "value": value }]);
    let stage = Stage::new([
        ("GET /api/v1/tools/weather/config", answer(&entry(None))),
        ("GET /api/v1/tools/weather/config?values=true", answer(&entry(Some("a\u{1b}[2Jb")))),
    ]);
    let hidden = stage.run(&["config", "list", "-t", "weather"]).shown();
    assert_snapshot!(hidden + &stage.run(&["config", "list", "--values", "-t", "weather"]).shown());
}

#[test]
fn json_prints_the_apis_own_objects() {
    // A field that this program does not know is passed on.
    let mut weather = serde_json::to_value(tool("weather", ToolState::Empty, None)).unwrap();
    weather["of_a_newer_server"] = json!(true);
    let release = json!(release(15, 0, ReleaseCause::Restart));
    let stage = Stage::new([
        ("GET /api/v1/tools", answer(&json!([weather]))),
        (
            "POST /api/v1/tools/weather/restart",
            lines(&[json!({ "kind": "done", "release": release, "millis": 1 })]),
        ),
    ]);
    let printed = |ran: crate::stage::Ran| serde_json::from_str::<serde_json::Value>(&ran.out).unwrap();
    assert_eq!(printed(stage.run(&["tools", "list", "--json"])), json!([weather]));
    assert_eq!(printed(stage.run(&["restart", "-t", "weather", "--json"])), release);
}
