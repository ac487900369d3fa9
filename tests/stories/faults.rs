//! Things that die, fill up or do not listen.

use crate::support::{Client, Ran, Server, shared, until};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

#[test]
fn ten_pushes_in_a_row_are_ten_releases() {
    let robin = Client::new(shared(), "row");
    robin.tool_from("row", "static-site");
    for number in 1..=10 {
        robin.write("row", "public/index.html", &format!("<h1>number {number}</h1>"));
        robin.commit("row", &format!("Number {number}"));
        robin.push("row").ok().says(&format!("v{number} is live"));
        assert!(robin.get("row", "/").body.contains(&format!("number {number}<")));
    }
}

#[test]
fn a_pack_that_is_too_big_is_refused_in_words() {
    let server = Server::start("big", "[limits]\npack = \"1 MiB\"\n");
    let robin = Client::new(&server, "robin");
    robin.tool_from("big", "static-site");
    let random = Command::new("head").args(["-c", "3000000", "/dev/urandom"]).output().expect("head").stdout;
    std::fs::write(robin.folder("big").join("noise.bin"), random).expect("a file");
    robin.commit("big", "Noise");
    robin.push("big").failed().says("push/pack-too-big");
    robin.git("big", &["reset", "-q", "--hard", "HEAD~1"]).ok();
    robin.push("big").ok();
}

#[test]
fn a_tool_that_ignores_sigterm_makes_way_all_the_same() {
    let server = Server::start("stubborn", "[rollout]\ngrace = \"2 s\"\n");
    let robin = Client::new(&server, "robin");
    robin.tool_from("stubborn", "python-procfile");
    let serve = std::fs::read_to_string(robin.folder("stubborn").join("serve.py")).expect("the sample");
    robin.write(
        "stubborn",
        "serve.py",
        &format!("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{serve}"),
    );
    robin.commit("stubborn", "Ignore SIGTERM");
    robin.push("stubborn").ok();
    robin.commit("stubborn", "Again");
    robin.push("stubborn").ok().says("v2 is live");
    let begun = Instant::now();
    loop {
        let ps = robin.hythe(&["ps", "-t", "stubborn"]).ok().out;
        if !ps.contains("v1") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{ps}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() > Duration::from_secs(1), "it was given its grace");
    assert_eq!(robin.get("stubborn", "/").status, 200);
}

#[test]
fn the_sandbox_helpers_death_is_mended() {
    let server = Server::start("helper", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("phoenix", "static-site");
    robin.push("phoenix").ok();
    let socket = format!("{}/data/run/sandbox.sock", server.folder().display());
    let killed =
        Command::new("pkill").args(["-KILL", "-f", &format!("hythe-sandbox serve.*{socket}")]).status();
    assert!(killed.expect("pkill").success(), "no helper was found");
    robin.get_until("phoenix", |answer| answer.status != 200);
    robin.get_until("phoenix", |answer| answer.status == 200);
    robin.commit("phoenix", "Afterwards");
    robin.push("phoenix").ok().says("v2 is live");
}

/// What a tool's page must say of a commit.
fn page(number: u32) -> String {
    format!("<h1>number {number}</h1>")
}

/// The live release's commit by the API; there is one, and none is half way.
#[track_caller]
pub(super) fn live_commit(robin: &Client<'_>, tool: &str) -> String {
    let text = robin.hythe(&["releases", "-t", tool, "--json"]).ok().out;
    let releases: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let list = releases.as_array().or_else(|| releases["releases"].as_array()).expect("a list");
    let live: Vec<_> = list.iter().filter(|release| release["state"] == "live").collect();
    assert_eq!(live.len(), 1, "{text}");
    assert!(list.iter().all(|release| release["state"] != "rolling-out"), "half-deployed: {text}");
    live[0]["commit"].as_str().expect("a commit").to_owned()
}

/// Whether no release is on its way.
pub(super) fn is_settled(robin: &Client<'_>, tool: &str) -> bool {
    !robin.hythe(&["releases", "-t", tool]).ok().out.contains("rolling out")
}

/// The live release's commit by the API, and the branch's by git: they must be the same, and the page must be its.
#[track_caller]
pub(super) fn expect_sound(robin: &Client<'_>, tool: &str) -> String {
    let commit = live_commit(robin, tool);
    let branch = robin.git(tool, &["ls-remote", "hythe", "refs/heads/main"]).ok().out;
    assert!(branch.starts_with(&commit), "git says {branch}, {commit} is live");
    let wanted = robin.git(tool, &["show", &format!("{commit}:public/index.html")]).ok().out;
    let page = robin.get_until(tool, |answer| answer.status == 200);
    assert_eq!(page.body.trim(), wanted.trim());
    commit
}

/// Begins to push the next page of the tool `target`.
pub(super) fn begin_push(server: &Server, number: u32) -> Child {
    let robin = Client::again(server, "robin");
    robin.write("target", "public/index.html", &page(number));
    robin.commit("target", &format!("Number {number}"));
    robin.git_in_background("target", &["push", "hythe", "main"])
}

/// That what was pushed is live where git said so, and that nothing is half way in any case.
#[track_caller]
pub(super) fn expect_no_half(robin: &Client<'_>, push: &Ran) {
    let live = expect_sound(robin, "target");
    let pushed = robin.git("target", &["rev-parse", "main"]).ok().out.trim().to_owned();
    assert!(push.code != 0 || live == pushed, "git said yes, and {live} is live: {push:?}");
}

#[test]
fn a_kill_at_any_moment_of_a_push_leaves_no_half() {
    let mut server = Server::start("kill", "");
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("target", "static-site");
        robin.write("target", "public/index.html", &page(0));
        robin.commit("target", "Number 0");
        robin.push("target").ok();
    }
    // From the first packet over source, detect, build, image, release and rollout to after the switch.
    for (number, millis) in (1..).zip((0..=600).step_by(50)) {
        let push = begin_push(&server, number);
        std::thread::sleep(Duration::from_millis(millis));
        server.kill();
        // A push that began when there was no server waits for the next one.
        server.spawn();
        let push = Ran::ended(push);
        let robin = Client::again(&server, "robin");
        expect_no_half(&robin, &push);
    }
    let robin = Client::again(&server, "robin");
    robin.commit("target", "After it all");
    robin.push("target").ok();
    expect_sound(&robin, "target");
}

#[test]
fn a_detached_push_that_was_acknowledged_outlives_a_kill_at_any_moment() {
    let mut server = Server::start("kill-detached", "");
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("target", "static-site");
        robin.write("target", "public/index.html", &page(0));
        robin.commit("target", "Number 0");
        robin.push("target").ok();
    }
    for (number, millis) in (1..).zip([0, 40, 80, 120, 180, 260, 400]) {
        let robin = Client::again(&server, "robin");
        robin.write("target", "public/index.html", &page(number));
        robin.commit("target", &format!("Number {number}"));
        robin.git("target", &["push", "-o", "detach", "hythe", "main"]).ok();
        std::thread::sleep(Duration::from_millis(millis));
        server.kill();
        server.spawn();
        let robin = Client::again(&server, "robin");
        robin.get_until("target", |answer| answer.body.contains(&page(number)));
        let wanted = robin.git("target", &["rev-parse", "main"]).ok().out;
        assert_eq!(expect_sound(&robin, "target"), wanted.trim());
    }
}

#[test]
fn a_full_disk_during_export_fails_the_push_and_leaves_nothing() {
    let server = Server::on_small_disk("full", 3 << 30);
    let robin = Client::new(&server, "robin");
    robin.tool_from("heavy", "static-site");
    robin.push("heavy").ok();
    let before = robin.get("heavy", "/").body;

    // The build writes 100 MB that cannot be compressed, and waits until the disk is nearly full.
    robin.tool_from("noise", "node-http");
    let package = r#"{"name": "noise", "version": "1.0.0", "scripts": {"start": "node server.js", "build": "node build.js"},
        "dependencies": {"ms": "2.1.3"}}"#;
    robin.write("noise", "package.json", package);
    let script = "const fs = require('fs'), crypto = require('crypto');\n\
        fs.writeFileSync('noise.bin', crypto.randomBytes(100 << 20)); console.log('WRITTEN'); setTimeout(() => {}, 6000);\n";
    robin.write("noise", "build.js", script);
    robin.commit("noise", "Noise");
    let child = robin.git_in_background("noise", &["push", "hythe", "main"]);
    robin.wait_for_build("noise", 1);
    until(Duration::from_mins(2), || {
        let log = robin.hythe(&["logs", "--build", "2", "-t", "noise"]).out;
        log.contains("WRITTEN").then_some(())
    });
    let filler = server.fill_disk(40 << 20);
    let push = Ran::ended(child).failed();
    assert!(push.err.contains("disk-full") || push.err.contains("disk is full"), "{}", push.err);
    assert_eq!(robin.get("heavy", "/").body, before, "what runs goes on");

    std::fs::remove_file(filler).expect("it can be removed");
    robin.git("noise", &["push", "hythe", "main"]).ok();
    assert_eq!(robin.get("noise", "/").status, 200);
}
