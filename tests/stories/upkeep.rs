//! What the platform does to its own data: cleaning up, sealing again, two changes at once.

use crate::support::{Client, Ran, Server, shared};
use std::time::{Duration, Instant};

#[test]
fn old_builds_are_forgotten_and_live_ones_kept() {
    let server = Server::start(
        "upkeep",
        "[server]\nupkeep = \"1 s\"\n[registry]\nkeep_releases = 1\n[logs]\nbuilds = 1\n",
    );
    let robin = Client::new(&server, "robin");
    robin.tool_from("often", "static-site");
    for number in 1..=4 {
        robin.commit("often", &format!("Number {number}"));
        robin.push("often").ok();
    }
    let begun = Instant::now();
    let kept = || robin.git("often", &["ls-remote", "hythe", "refs/hythe/builds/*"]).ok().out.lines().count();
    while kept() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} commits of builds are kept", kept());
        std::thread::sleep(Duration::from_millis(200));
    }
    robin.hythe(&["logs", "--build", "4", "-t", "often"]).ok();
    let gone = robin.hythe(&["logs", "--build", "1", "-t", "often"]);
    assert!(!gone.out.contains("live"), "{gone:?}");
    assert_eq!(robin.get("often", "/").status, 200);
    robin.hythe(&["restart", "-t", "often"]).ok();
    robin.commit("often", "Afterwards");
    robin.push("often").ok();
}

#[test]
fn a_tool_whose_images_are_too_large_hurts_itself_alone() {
    let server = Server::start("images", "[registry]\ntool = \"16 MiB\"\n");
    let robin = Client::new(&server, "robin");
    let fill = |tool: &str| {
        let noise = "head -c 10485760 /dev/urandom >public/noise";
        let filled =
            std::process::Command::new("sh").args(["-c", noise]).current_dir(robin.folder(tool)).status();
        assert!(filled.expect("sh").success());
        robin.commit(tool, "Noise");
    };
    robin.tool_from("greedy", "static-site");
    fill("greedy");
    robin.push("greedy").ok().says("v1 is live");
    fill("greedy");
    robin
        .push("greedy")
        .failed()
        .says("export/images-too-large")
        .says("may take 16.7 MB")
        .says("v1 goes on serving");
    robin.commit("greedy", "Once more");
    let again = robin.push("greedy").failed().says("export/images-too-large");
    assert!(!again.err.contains("detect"), "nothing is built before there is room\n{}", again.err);
    assert_eq!(robin.get("greedy", "/").status, 200);
    robin.tool_from("modest", "static-site");
    robin.push("modest").ok().says("v1 is live");
}

#[test]
fn keys_of_config_values_are_rotated() {
    let mut server = Server::start("rotate", "");
    let key_file = |server: &Server| server.read_data("keys/sealing.json");
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("sealed", "python-flask");
        robin.push("sealed").ok();
        robin.hythe(&["config", "set", "GREETING=kept through", "-t", "sealed"]).ok();
    }
    server.hythed(&["rotate-keys"]).failed().says("while the server is stopped");
    let before = key_file(&server);
    server.stop();
    let rotated = server.hythed(&["rotate-keys"]).ok();
    assert!(rotated.out.contains("1 values are sealed under key 2"), "{}", rotated.out);
    assert_ne!(key_file(&server), before);
    server.spawn();
    let robin = Client::again(&server, "robin");
    robin.hythe(&["restart", "-t", "sealed"]).ok();
    assert_eq!(robin.get("sealed", "/env/GREETING").body.trim(), "kept through");
}

#[test]
fn of_two_config_changes_at_once_none_is_lost() {
    let robin = Client::new(shared(), "both");
    robin.tool_from("both", "python-flask");
    robin.push("both").ok();
    let set = |pair: &str| robin.hythe_in_background(&["config", "set", pair, "-t", "both"]);
    let both = [set("A=first"), set("B=second")];
    for child in both {
        Ran::ended(child).ok();
    }
    assert_eq!(robin.get("both", "/env/A").body.trim(), "first");
    assert_eq!(robin.get("both", "/env/B").body.trim(), "second");
}
