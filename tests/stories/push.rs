//! A push, from the keyboard to the route.

use crate::support::{Client, shared};

#[test]
fn a_static_site_goes_live_by_a_push() {
    let robin = Client::new(shared(), "static");
    robin.tool_from("handbook", "static-site");
    let push = robin.push("handbook").ok();
    assert!(push.err.contains("v1 is live: http://handbook.localhost"), "{}", push.err);
    let page = robin.get("handbook", "/");
    assert_eq!(page.status, 200, "{page:?}");

    robin.write("handbook", "public/index.html", "<h1>Second edition</h1>");
    robin.commit("handbook", "Second edition");
    robin.push("handbook").ok().says("v2 is live");
    assert!(robin.get("handbook", "/").body.contains("Second edition"));
    let releases = robin.hythe(&["releases", "-t", "handbook"]).ok().out;
    assert!(releases.contains("v2") && releases.contains("live"), "{releases}");

    robin.hythe(&["rollback", "v1", "-t", "handbook"]).ok();
    assert!(!robin.get("handbook", "/").body.contains("Second edition"));
    // The config that is listed is the one in force.
    robin.hythe(&["config", "set", "EDITION=third", "-t", "handbook"]).ok();
    robin.hythe(&["rollback", "v1", "-t", "handbook"]).ok();
    for list in [&["config", "list", "-t", "handbook"][..], &["config", "list", "--values", "-t", "handbook"]]
    {
        let listed = robin.hythe(list).ok().out;
        assert!(listed.contains("handbook has no config"), "{listed}");
    }
    // The deploy ref names the commit that is live, after a rollback too.
    let first = robin.git("handbook", &["rev-parse", "main~1"]).ok().out;
    let remote = robin.git("handbook", &["ls-remote", "hythe", "refs/heads/main"]).ok().out;
    assert!(remote.starts_with(first.trim()), "{remote} is not {first}");
}

#[test]
fn a_python_tool_goes_live_and_its_config_reaches_it() {
    let robin = Client::new(shared(), "python");
    robin.tool_from("weather", "python-flask");
    robin.push("weather").ok().says("v1 is live");
    assert_eq!(robin.get("weather", "/").status, 200);
    robin.hythe(&["config", "set", "GREETING=Hello from the config", "-t", "weather"]).ok();
    assert_eq!(robin.get("weather", "/env/GREETING").body.trim(), "Hello from the config");
    // What the tool prints of its config is masked in its log.
    robin
        .hythe(&["run", "-t", "weather", "--", "sh", "-c", "test \"$GREETING\" = 'Hello from the config'"])
        .ok();
    robin.write(
        "weather",
        "Procfile",
        "web: sh -c 'echo started with $GREETING; exec gunicorn app:app --bind 0.0.0.0:$PORT'\n",
    );
    robin.commit("weather", "Print the config");
    robin.push("weather").ok();
    let log = robin.hythe(&["logs", "-t", "weather"]).ok().out;
    assert!(log.contains("started with [masked]") && !log.contains("Hello from the config"), "{log}");
    // A rollback takes the config back too.
    robin.hythe(&["rollback", "v1", "-t", "weather"]).ok();
    assert_eq!(robin.get("weather", "/env/GREETING").body.trim(), "");
    let log = robin.hythe(&["logs", "-t", "weather"]).ok().out;
    assert!(log.contains("Listening at") && log.contains("GET /env/GREETING 200"), "{log}");
}

#[test]
fn a_node_tool_goes_live() {
    let robin = Client::new(shared(), "node");
    robin.tool_from("quotes", "node-http");
    robin.push("quotes").ok().says("v1 is live");
    assert_eq!(robin.get("quotes", "/").status, 200);
}

#[test]
fn a_build_that_fails_leaves_the_ref_and_says_why() {
    let robin = Client::new(shared(), "failing");
    robin.tool_from("broken", "python-flask");
    robin.write("broken", "requirements.txt", "flaks==3.0\n");
    robin.commit("broken", "Misspell");
    let push =
        robin.push("broken").failed().says("python/package-not-found").says("[remote rejected] main -> main");
    assert!(push.err.contains("flask"), "no hint in\n{}", push.err);
    assert_eq!(robin.git("broken", &["ls-remote", "hythe", "refs/heads/main"]).ok().out, "");
}

#[test]
fn a_tool_that_crashes_never_takes_traffic() {
    let robin = Client::new(shared(), "crashing");
    robin.tool_from("fragile", "static-site");
    robin.push("fragile").ok();
    robin.write("fragile", "Procfile", "web: sh -c 'echo no settings here; exit 1'\n");
    robin.commit("fragile", "Break it");
    robin.push("fragile").failed().says("rollout/crashed").says("no settings here");
    assert_eq!(robin.get("fragile", "/").status, 200);
}

#[test]
fn a_deleted_tool_leaves_nothing_to_the_next_of_its_name() {
    let robin = Client::new(shared(), "phoenix");
    robin.tool_from("phoenix", "static-site");
    robin.push("phoenix").ok();
    assert_eq!(robin.get("phoenix", "/").status, 200);
    let log = robin.hythe(&["logs", "-t", "phoenix"]).ok().out;
    assert!(log.contains("GET / 200"), "{log}");
    let deleted = robin.hythe(&["tools", "delete", "phoenix", "--yes"]).ok().out;
    assert_eq!(deleted, "phoenix: deleted.\n");
    robin.hythe(&["tools", "info", "phoenix"]).failed();
    robin.hythe(&["tools", "create", "phoenix"]).ok();
    assert_eq!(robin.hythe(&["logs", "-t", "phoenix"]).ok().out, "");
    robin.push("phoenix").ok().says("v1 is live");
    assert_eq!(robin.get("phoenix", "/").status, 200);
    let log = robin.hythe(&["logs", "-t", "phoenix"]).ok().out;
    assert_eq!(log.matches("GET / 200").count(), 1, "{log}");
}

#[test]
fn a_stranger_is_refused() {
    let owner = Client::new(shared(), "owner");
    owner.tool_from("private", "static-site");
    let stranger = Client::stranger(shared(), "stranger");
    let url = owner.git("private", &["remote", "get-url", "hythe"]).ok().out;
    stranger.git("", &["ls-remote", url.trim()]).failed().says("Permission denied (publickey)");
}

#[test]
fn a_branch_that_git_cannot_hold_beside_another_is_refused_before_it_is_built() {
    let robin = Client::new(shared(), "branches");
    robin.tool_from("yearly", "static-site");
    robin.hythe(&["tools", "set", "-t", "yearly", "--branches", "release,release/2026"]).ok();
    robin.git("yearly", &["push", "hythe", "main:release"]).ok();
    robin.write("yearly", "public/index.html", "<h1>2026</h1>");
    robin.commit("yearly", "2026");
    let refused = robin.git("yearly", &["push", "hythe", "main:release/2026"]).failed();
    refused.says("push/branch-clashes");
    let builds = robin.hythe(&["builds", "list", "-t", "yearly", "--json"]).ok().out;
    assert_eq!(builds.matches("\"commit\"").count(), 1, "it was not built: {builds}");
    robin.git("yearly", &["push", "hythe", "main:release"]).ok();
}
