//! Builds in pods of the cluster: the same log, the same faults, and nothing left behind.

use super::attack::build;
use crate::support::{Client, Clustered, Ran, until};
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// The names of what is left of builds.
fn left(server: &Clustered) -> String {
    server.kubectl_of_builds(&["get", "pods,secrets", "-l", "hythe.dev/build", "-o", "name"]).ok().out
}

#[test]
fn a_build_runs_in_a_pod_and_the_next_one_has_its_cache() {
    let server = Clustered::start("pods-build", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("weather", "python-flask");
    let first = robin.push("weather").ok().says("detect").says("Downloading").says("v1 is live");
    assert!(first.err.contains("this is the first build"), "{}", first.err);
    assert_eq!(robin.get("weather", "/").status, 200);
    assert_eq!(left(&server).trim(), "", "nothing of a build stays in the cluster");

    robin.write("weather", "note.txt", "Only the app changes.");
    robin.commit("weather", "A note");
    let begun = Instant::now();
    let second = robin.push("weather").ok().says("v2 is live");
    eprintln!("a code-only push took {:?}", begun.elapsed());
    // The app's own.
    assert!(second.err.contains("image     1 of "), "{}", second.err);
    assert!(!second.err.contains("Downloading"), "{}", second.err);

    robin.commit("weather", "Anew");
    let third = robin.git("weather", &["push", "-o", "no-cache", "hythe", "main"]).ok().says("v3 is live");
    assert!(third.err.contains("the push asked for no-cache"), "{}", third.err);
}

#[test]
fn no_more_builds_run_at_once_than_the_operator_allows() {
    let server = Clustered::start("pods-turns", "[builder]\nconcurrent = 2\n");
    let robin = Client::new(&server, "robin");
    let mut pushes = ["one", "two", "three", "four"].map(|tool| {
        robin.tool_from(tool, "static-site");
        robin.git_in_background(tool, &["push", "hythe", "main"])
    });
    let mut most = 0;
    while pushes.iter_mut().any(|push| push.try_wait().expect("git").is_none()) {
        let pods = server.kubectl_of_builds(&["get", "pods", "-l", "hythe.dev/build", "-o", "name"]).out;
        most = most.max(pods.lines().count());
        std::thread::sleep(Duration::from_millis(50));
    }
    for push in pushes {
        Ran::ended(push).ok().says("v1 is live");
    }
    assert_eq!(most, 2);
}

#[test]
fn a_build_that_fails_says_the_same_in_a_pod() {
    let server = Clustered::start(
        "pods-faults",
        "[builder]\nmemory = \"384 MiB\"\ndisk = \"300 MiB\"\ntime = \"25 s\"\noutput = \"1 MiB\"\n",
    );
    let robin = Client::new(&server, "robin");
    robin.tool_from("misspelt", "python-misspelt");
    robin.push("misspelt").failed().says("python/package-not-found").says("Nothing was released");
    robin.tool_from("empty", "static-site");
    robin.git("empty", &["rm", "-rq", "public"]).ok();
    robin.write("empty", "README.txt", "nothing to run");
    robin.commit("empty", "Nothing");
    robin.push("empty").failed().says("detect/nothing-matches");

    robin.tool_from("evil", "static-site");
    robin.git("evil", &["rm", "-rq", "public"]).ok();
    let eat = "const kept = [];\nwhile (true) kept.push(Buffer.alloc(8 << 20, 1));\n";
    build(&robin, "evil", eat).failed().says("build/out-of-memory");
    build(&robin, "evil", "setInterval(() => {}, 1000);\n").failed().says("build/too-long");
    let print = "const line = 'x'.repeat(1000) + '\\n';\nwhile (true) require('fs').writeSync(1, line);\n";
    build(&robin, "evil", print).failed().says("build/too-much-output");
    assert_eq!(left(&server).trim(), "");
}

#[test]
fn a_build_that_fills_its_disk_is_ended_in_a_pod() {
    let server = Clustered::start(
        "pods-disk",
        "[builder]\ndisk = \"300 MiB\"\ncache = \"50 MiB\"\ntime = \"5 min\"\n",
    );
    let robin = Client::new(&server, "robin");
    robin.tool_from("evil", "static-site");
    robin.git("evil", &["rm", "-rq", "public"]).ok();
    // A node measures once a minute.
    let fill = "const fs = require('fs'), block = Buffer.alloc(40 << 20);\nfor (let n = 0; n < 10; n++) fs.writeFileSync('/workspace/' + n, block);\nsetInterval(() => {}, 1000);\n";
    build(&robin, "evil", fill).failed().says("build/disk-full").says("Nothing was released");
    assert_eq!(left(&server).trim(), "");
}

#[test]
fn a_hostile_build_finds_no_credential_in_its_pod() {
    let server = Clustered::start("pods-attack", "");
    let mallory = Client::new(&server, "mallory");
    mallory.tool_from("evil", "static-site");
    mallory.git("evil", &["rm", "-rq", "public"]).ok();
    let host = &server.cluster().host;
    // The registry's machine lets builds reach the registry and nothing else.
    let listener = TcpListener::bind((host.as_str(), 0)).expect("this machine has the cluster's address");
    let beside = (host.clone(), listener.local_addr().expect("an address").port());
    let places = [vec![beside], server.cluster().closed_to_pods()].concat();
    let reach = format!(
        "const net = require('net'), fs = require('fs'), http = require('http');\n\
         for (const [host, port] of {tries}) {{\n\
           const told = word => function () {{ console.log(word + ' ' + host + ' ' + port); this.destroy(); }};\n\
           net.connect({{ host, port, timeout: 2000 }}).on('connect', told('REACHED')).on('error', told('CLOSED')).on('timeout', told('CLOSED'));\n\
         }}\n\
         const walk = path => {{ try {{ for (const name of fs.readdirSync(path)) {{ const at = path + '/' + name; try {{ if (fs.statSync(at).isDirectory()) walk(at); else if (/password|hythe_[A-Za-z0-9_-]{{30}}/.test(fs.readFileSync(at, 'utf8'))) console.log('FOUND in ' + at); }} catch {{}} }} }} catch {{}} }};\n\
         ['/hythe', '/run/secrets', '/var/run/secrets', '/platform'].forEach(walk);\n\
         for (const path of ['/hythe/access', '/hythe/private', '/hythe/work', '/var/run/secrets/kubernetes.io'])\n\
           try {{ fs.readdirSync(path).forEach(name => console.log('LISTED ' + path + ' ' + name)); }} catch {{}}\n\
         for (const path of ['/cnb/lifecycle/carrier', '/cnb/buildpacks', '/etc/passwd'])\n\
           try {{ fs.accessSync(path, fs.constants.W_OK); console.log('WRITABLE ' + path); }} catch {{}}\n\
         const read = path => {{ try {{ return fs.readFileSync(path, 'utf8'); }} catch {{ return ''; }} }};\n\
         if (!read('/proc/self/status').includes('NoNewPrivs:\\t1')) console.log('FOUND a way to more privileges');\n\
         if (!/CapEff:\\t0+\\n/.test(read('/proc/self/status'))) console.log('FOUND a capability');\n\
         http.get('http://{registry}/v2/tools/evil/manifests/latest', a => {{ console.log('REGISTRY says ' + a.statusCode); a.resume(); }}).on('error', () => console.log('REGISTRY says nothing'));\n\
         console.log('UID ' + process.getuid());\n",
        tries = serde_json::to_string(&places).expect("JSON"),
        registry = server.address("registry"),
    );
    let _metadata = server.cluster().metadata_server();
    let push = build(&mallory, "evil", &reach).ok().says("UID 1000").says("v1 is live");
    for caught in ["REACHED", "LISTED", "FOUND", "WRITABLE"] {
        assert!(!push.err.contains(caught), "{}", push.err);
    }
    for (place, port) in &places {
        assert!(push.err.contains(&format!("CLOSED {place} {port}")), "{place} {port}: {}", push.err);
    }
    // That one is open to it, and shows nothing to who has no password.
    push.says("REGISTRY says 401");
    assert_eq!(mallory.get("evil", "/").body, "up");
}

#[test]
fn a_pod_that_is_lost_is_made_once_more_and_one_that_is_not_wanted_goes_at_once() {
    let server = Clustered::start("pods-lost", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("slow", "static-site");
    robin.git("slow", &["rm", "-rq", "public"]).ok();
    let wait = "console.log('WORKING'); setTimeout(() => {}, 8000);\n";
    build(&robin, "slow", "console.log('quick')\n").ok();

    robin.write("slow", "build.js", wait);
    robin.commit("slow", "Slowly");
    let push = robin.git_in_background("slow", &["push", "hythe", "main"]);
    server.until_a_build_runs();
    server
        .kubectl_of_builds(&[
            "delete",
            "pods",
            "-l",
            "hythe.dev/build",
            "--wait=false",
            "--grace-period=0",
            "--force",
        ])
        .ok();
    Ran::ended(push).ok().says("trying once more").says("v2 is live");

    robin.write("slow", "build.js", &wait.replace("8000", "100000"));
    robin.commit("slow", "For ever");
    let said = robin.git("slow", &["push", "-o", "detach", "hythe", "main"]).ok().err;
    let number =
        said.split("Build ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a build's number");
    server.until_a_build_runs();
    let begun = Instant::now();
    robin.hythe(&["builds", "cancel", number, "-t", "slow"]).ok();
    until(Duration::from_secs(20), || left(&server).trim().is_empty().then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(robin.get("slow", "/").body, "up");
}

#[test]
fn a_detached_build_goes_on_after_the_server_was_killed() {
    let mut server = Clustered::start("pods-kill", "");
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("slow", "static-site");
        robin.git("slow", &["rm", "-rq", "public"]).ok();
        build(&robin, "slow", "console.log('quick')\n").ok();
        robin.write("slow", "build.js", "setTimeout(() => {}, 6000);\n");
        robin.commit("slow", "Slowly");
        robin.git("slow", &["push", "-o", "detach", "hythe", "main"]).ok();
    }
    server.until_a_build_runs();
    server.kill();
    let robin = Client::again(&server, "robin");
    until(Duration::from_mins(2), || {
        let releases = robin.hythe(&["releases", "-t", "slow"]).ok().out;
        releases.lines().any(|line| line.starts_with("v2") && line.contains("live")).then_some(())
    });
    assert_eq!(left(&server).trim(), "");
}

#[test]
fn a_release_whose_push_died_with_the_server_leaves_nothing_that_runs() {
    let mut server = Clustered::start("pods-left", "");
    let push = {
        let robin = Client::new(&server, "robin");
        robin.tool_from("half", "static-site");
        robin.write("half", "project.toml", "[hythe.release]\ncommand = \"sleep 300\"\n");
        robin.commit("half", "Wait");
        robin.git_in_background("half", &["push", "hythe", "main"])
    };
    let what_runs = |path: &str| server.kubectl("half", &["get", "jobs,deployments,pods", "-o", path]).out;
    let command = "jsonpath={.items[?(@.kind==\"Pod\")].status.containerStatuses[*].state.running}";
    until(Duration::from_mins(1), || what_runs(command).contains("startedAt").then_some(()));
    server.kill();
    Ran::ended(push);
    let robin = Client::again(&server, "robin");
    // A start waits a while for the command's end, and goes on where a busy node takes longer.
    until(Duration::from_mins(1), || {
        let builds = robin.hythe(&["builds", "list", "-t", "half", "--json"]).ok().out;
        builds.contains("push/interrupted").then_some(())
    });
    // No second run goes beside the first one, and nobody is sent to what failed.
    let left = || server.kubectl("half", &["get", "jobs,deployments,pods", "-o", "name"]).out;
    until(Duration::from_secs(40), || left().trim().is_empty().then_some(()));
    robin.write("half", "project.toml", "");
    robin.commit("half", "Do not wait");
    robin.push("half").ok().says("v2 is live");
}
