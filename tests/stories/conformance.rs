//! One story of the verbs, told of every runtime: whoever uses the platform must not see where tools run.

use crate::support::{Client, Clustered, Ran, Server, Typed, answers_under_load, until};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::sync::mpsc;
use std::time::Duration;

const SETTINGS: &str = "readiness = \"6 s\"\ngrace = \"2 s\"\n";

#[test]
fn the_verbs_on_one_machine() {
    tell(&Server::start("verbs", &format!("[rollout]\n{SETTINGS}")));
}

#[test]
fn the_verbs_in_a_cluster() {
    let clustered = Clustered::with_the_rights_of_an_installation("kube-verbs", SETTINGS);
    tell(&clustered);
    an_operator_is_told_what_is_missing(&clustered);
}

/// What `hythed check-config` says of the cluster, and of rights and policies that were taken away.
fn an_operator_is_told_what_is_missing(clustered: &Clustered) {
    let check = || clustered.hythed(&["check-config"]);
    let well = check().ok().out;
    for line in [
        "pass     database",
        "pass     cluster              Kubernetes 1.",
        "rights that are needed are there",
        "of its own making",
    ] {
        assert!(well.contains(line), "{line}\n{well}");
    }
    assert!(
        !well.contains("pasta") && !well.contains("user namespaces"),
        "nothing runs in sandboxes\n{well}"
    );
    let (cluster, platform) = (clustered.cluster(), clustered.platform());
    cluster.kubectl(&["delete", "validatingadmissionpolicybinding", &format!("{platform}-namespaces")]).ok();
    until(Duration::from_secs(30), || {
        check().ok().out.contains("warning  cluster              nothing holds the server").then_some(())
    });
    let tools = format!("{platform}-tools");
    let without = r#"[{"op": "remove", "path": "/rules/0/verbs/2"}]"#;
    cluster.kubectl(&["patch", "clusterrole", &tools, "--type=json", "-p", without]).ok();
    let lacking = until(Duration::from_secs(30), || {
        let said = check();
        (said.code != 0).then_some(said.out)
    });
    assert!(lacking.contains("rights are missing: patch secrets in builds-of-"), "{lacking}");
}

fn tell(server: &Server) {
    let robin = Client::new(server, "robin");
    robin.tool_from("weather", "python-flask");
    robin.push("weather").ok().says("v1 is live");
    day_two(&robin);
    commands(&robin);
    a_shell(&robin);
    bad_releases(&robin);
    a_crash(&robin);
    commanded_releases(&robin);
    canaries(&robin, server);
    jobs(&robin);
    files(&robin);
    robin.hythe(&["tools", "delete", "weather", "--yes"]).ok();
    assert_eq!(robin.get("weather", "/").status, 404);
}

/// Config, scale, restart, rollback, logs, one-off runs.
fn day_two(robin: &Client<'_>) {
    robin.hythe(&["config", "set", "GREETING=good morning", "-t", "weather"]).ok();
    assert_eq!(robin.get("weather", "/env/GREETING").body.trim(), "good morning");
    robin.hythe(&["scale", "web=2", "-t", "weather"]).ok();
    assert_eq!(ready(robin), 2);
    robin.hythe(&["scale", "web=101", "-t", "weather"]).failed().says("100 instances at most");
    // Who follows hears all of them.
    let mut follower = robin.hythe_in_background(&["logs", "-f", "-t", "weather"]);
    let (tell, heard) = mpsc::channel();
    let output = BufReader::new(follower.stdout.take().expect("a pipe"));
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    robin.hythe(&["restart", "-t", "weather"]).ok();
    assert_eq!(ready(robin), 2);
    let mut begun = BTreeSet::new();
    until(Duration::from_secs(20), || {
        for line in heard.try_iter().filter(|line| line.contains("Listening at")) {
            let instance = line.split_whitespace().find(|word| word.starts_with("v4.web."));
            begun.extend(instance.map(str::to_owned));
        }
        (begun.len() == 2).then_some(())
    });
    follower.kill().expect("it follows");
    follower.wait().expect("it ends");
    let rollback = robin.hythe(&["rollback", "v1", "-t", "weather"]).ok().out;
    assert!(rollback.contains("v5 = v1"), "{rollback}");
    assert_eq!(ready(robin), 1);
    assert_eq!(robin.get("weather", "/env/GREETING").body.trim(), "");
    robin.hythe(&["rollback", "v2", "-t", "weather"]).ok();

    let run =
        robin.hythe(&["run", "-t", "weather", "--", "sh", "-c", "echo \"$GREETING\" | tr a-z A-Z; exit 7"]);
    assert_eq!((run.code, run.out.trim()), (7, "GOOD MORNING"), "{run:?}");
    let log = until(Duration::from_secs(10), || {
        let log = robin.hythe(&["logs", "-t", "weather"]).ok().out;
        (log.contains("v6.web.") && log.contains("Listening at")).then_some(log)
    });
    assert!(log.contains("GET /env/GREETING 200"), "{log}");
}

/// Commands that run once: their input to its end, output and errors apart and whole, exit codes, signals.
fn commands(robin: &Client<'_>) {
    let run = |words: &[&str], input: &str| {
        robin.hythe_with(&[&["run", "-t", "weather", "--"], words].concat(), input)
    };
    let ran = run(&["sh", "-c", "echo first; cat; echo oops >&2; exit 7"], "select 1;\n");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (7, "first\nselect 1;\n", "oops\n"));
    // More than waits anywhere on the way, there and back.
    let rows = "row of a table\n".repeat(300_000);
    let ran = run(&["cat"], &rows).ok();
    assert!(ran.out == rows, "{} of {} bytes came back", ran.out.len(), rows.len());
    // One that reads nothing is not waited for.
    assert_eq!(run(&["true"], &rows).code, 0);
    // What is on no terminal knows it.
    assert_eq!(run(&["sh", "-c", "test -t 1 || echo none"], "").ok().out.trim(), "none");

    // Who asks by POST gives no input.
    let body = r#"{"args": ["sh", "-c", "cat; echo out; echo err >&2; exit 4"]}"#;
    let said = robin.post("/tools/weather/run", body);
    for line in [
        r#"{"kind":"stdout","data":"b3V0Cg=="}"#,
        r#"{"kind":"stderr","data":"ZXJyCg=="}"#,
        r#"{"kind":"exit","code":4}"#,
    ] {
        assert!(said.lines().any(|other| other == line), "no {line} in {said}");
    }

    let script = "trap 'echo caught; exit 3' INT TERM; echo ready; while :; do sleep 0.1; done";
    let ran = robin.hythe_signalled(&["run", "-t", "weather", "--", "sh", "-c", script], Signal::SIGTERM);
    assert_eq!((ran.code, ran.out.as_str()), (3, "ready\ncaught\n"), "{ran:?}");
    // One without a handler ends by it.
    let script = "echo ready; exec sleep 100";
    let ran = robin.hythe_signalled(&["run", "-t", "weather", "--", "sh", "-c", script], Signal::SIGTERM);
    assert_eq!((ran.code, ran.out.as_str()), (143, "ready\n"), "{ran:?}");
}

/// A shell on a terminal: its size, also when it changes, its keys, its environment, its end.
fn a_shell(robin: &Client<'_>) {
    let mut shell = Typed::start(&robin.hythe_command(&["run", "--shell", "-t", "weather"]), (30, 100));
    shell.type_until("stty size\r", "30 100\r\n");
    shell.type_until("tty\r", "/dev/pts/");
    shell.type_until("echo \"[$PWD]\"\r", "[/workspace]");
    shell.type_until("echo \"[$GREETING]\"\r", "[good morning]");
    shell.type_until("echo be''gun; sleep 100\r", "begun\r\n");
    shell.type_until("\x03", "^C");
    shell.type_until("echo ended $?\r", "ended 130");
    shell.resize((40, 120));
    // A size and what is typed after it come by ways of their own.
    let resized = "until [ \"$(stty size)\" = '40 120' ]; do sleep 0.1; done; echo re''sized\r";
    shell.type_until(resized, "resized\r\n");
    let (code, is_restored) = shell.end("exit 6\r");
    assert_eq!(code, Some(6));
    assert!(is_restored, "the terminal stays raw");
}

/// A release that fails never takes traffic for good, its reason is the push's, and what served before goes on.
fn bad_releases(robin: &Client<'_>) {
    // Somebody may think better of it while the new instance comes up.
    robin.write("weather", "Procfile", "web: sleep 1000\n");
    robin.write("weather", "project.toml", "[hythe.processes.web]\nreadiness = { timeout = \"5 min\" }\n");
    robin.commit("weather", "By mistake");
    let shown = || {
        robin.hythe(&["ps", "-t", "weather"]).ok().out.lines().filter(|line| line.starts_with("web.")).count()
    };
    let push = robin.git_in_background("weather", &["push", "hythe", "main"]);
    until(Duration::from_mins(1), || (shown() == 2).then_some(()));
    robin.hythe(&["builds", "cancel", "2"]).ok();
    Ran::ended(push).failed().says("push/cancelled");
    until(Duration::from_mins(1), || (shown() == 1 && ready(robin) == 1).then_some(()));
    assert_eq!(robin.get("weather", "/env/GREETING").body.trim(), "good morning");
    robin.git("weather", &["rm", "-qf", "project.toml"]).ok();
    for (command, fault) in [
        ("sleep 1000", "rollout/not-listening"),
        ("sh -c 'echo done; exit 0'", "rollout/exited-zero"),
        ("sh -c 'echo broken at once; exit 3'", "rollout/crashed"),
    ] {
        robin.write("weather", "Procfile", &format!("web: {command}\n"));
        robin.commit("weather", command);
        let push = robin.push("weather").failed().says(fault).says("v6 goes on serving");
        assert!(!command.contains("broken") || push.err.contains("broken at once"), "{}", push.err);
        assert_eq!(robin.get("weather", "/env/GREETING").body.trim(), "good morning");
    }
    until(Duration::from_secs(20), || {
        let last = robin.hythe(&["logs", "--previous", "-t", "weather"]).ok().out;
        (last.contains("broken at once") && last.contains("ended: exit code 3")).then_some(())
    });
    // More than its limit, which a cluster writes in a unit of its own.
    let eat = "web: python3 -c \"kept = [b'x' * 4194304 for _ in iter(int, 1)]\"\n";
    robin.write("weather", "Procfile", eat);
    robin.write("weather", "project.toml", "[hythe.processes.web]\nmemory = \"250 MiB\"\n");
    robin.commit("weather", "Eat");
    robin.push("weather").failed().says("rollout/out-of-memory").says("250 MiB").says("v6 goes on serving");
    robin.git("weather", &["rm", "-q", "Procfile"]).ok();
    robin.write("weather", "project.toml", "[hythe.processes.web]\nreadiness = { path = \"/healthz\" }\n");
    robin.commit("weather", "Unwell");
    let push = robin.push("weather").failed().says("rollout/not-healthy").says("v6 goes on serving");
    push.says("not ready: GET /healthz answered 404").says("Seen last: GET /healthz answered 404");

    until(Duration::from_secs(20), || (ready(robin) == 1).then_some(()));
    let releases = robin.hythe(&["releases", "-t", "weather"]).ok().out;
    let live = releases.lines().find(|line| line.contains("live")).unwrap_or_default();
    assert!(live.starts_with("v6"), "{releases}");
    robin.git("weather", &["rm", "-q", "project.toml"]).ok();
    robin.commit("weather", "Mend it");
    robin.push("weather").ok().says("is live");

    // Nothing asks a process without traffic whether it is well: it has to stay up for a moment.
    robin.write("weather", "Procfile", "worker: sh -c 'sleep 1; echo no work here; exit 3'\n");
    robin.commit("weather", "Work");
    robin.push("weather").ok();
    let scaled = robin.hythe(&["scale", "worker=1", "-t", "weather"]).failed().says("rollout/crashed");
    scaled.says("worker").says("no work here").says("goes on serving");
    robin.git("weather", &["rm", "-q", "Procfile"]).ok();
    robin.commit("weather", "No work");
    robin.push("weather").ok();
}

/// An instance that ends by itself is started anew in its place, and what it said last is kept with how it ended.
fn a_crash(robin: &Client<'_>) {
    let serve = "import os\nfrom http.server import *\nclass H(BaseHTTPRequestHandler):\n    def do_GET(self):\n        \
                 if self.path == '/crash':\n            print('broken in place', flush=True); os._exit(3)\n        \
                 self.send_response(200); self.end_headers()\n\
                 ThreadingHTTPServer(('0.0.0.0', int(os.environ['PORT'])), H).serve_forever()\n";
    robin.write("weather", "serve.py", serve);
    robin.write("weather", "Procfile", "web: python3 serve.py\n");
    robin.commit("weather", "Crash when asked to");
    robin.push("weather").ok();
    assert_eq!(robin.get("weather", "/crash").status, 502);
    let last = until(Duration::from_secs(20), || {
        let last = robin.hythe(&["logs", "--previous", "-t", "weather"]).ok().out;
        last.contains("broken in place").then_some(last)
    });
    assert!(last.contains("ended: exit code 3"), "{last}");
    until(Duration::from_mins(1), || (ready(robin) == 1).then_some(()));
    let ps = robin.hythe(&["ps", "-t", "weather"]).ok().out;
    assert!(ps.contains("exit code 3"), "{ps}");
    robin.git("weather", &["rm", "-q", "Procfile", "serve.py"]).ok();
    robin.commit("weather", "Do not crash");
    robin.push("weather").ok();
}

/// A release's command runs before its traffic, in its image and with its config; where it fails, nothing has changed.
fn commanded_releases(robin: &Client<'_>) {
    let command = |text: &str| format!("[hythe.release]\ncommand = \"{text}\"\ntimeout = \"20 s\"\n");
    let served = |path: &str| robin.get("weather", path).body.trim().to_owned();
    robin.write("weather", "project.toml", &command("echo moving for $GREETING; test -f app.py; exit 3"));
    robin.commit("weather", "A migration that fails");
    robin
        .push("weather")
        .failed()
        .says("rollout/release-command")
        .says("moving for [masked]")
        .says("exit code 3");
    robin.write("weather", "project.toml", &command("sleep 60"));
    robin.commit("weather", "A migration without end");
    robin.push("weather").failed().says("rollout/release-command-time");
    assert_eq!(served("/env/GREETING"), "good morning");

    robin.write("weather", "project.toml", "[hythe.release]\n\ncomand = \"true\"\n");
    robin.commit("weather", "A mistake");
    robin.push("weather").failed().says("source/project-file").says("line 3").says("`command`");

    robin.write("weather", "project.toml", &command("echo moved to $HYTHE_RELEASE"));
    robin.commit("weather", "A migration that is well");
    let push = robin.push("weather").ok().says("moved to v");
    let (moved, live) = (push.err.find("moved to v"), push.err.find("is live"));
    assert!(moved < live, "{}", push.err);
    let restarted = robin.hythe(&["restart", "-t", "weather"]).ok();
    assert!(!restarted.err.contains("moved"), "a restart runs no command: {}", restarted.err);
}

/// Config as files: asked for by the repository, kept apart from it, read by whatever runs and written by nothing.
fn files(robin: &Client<'_>) {
    let project = "[hythe.files]\n\"replica.my.cnf\" = \"REPLICA_LOGIN\"\n\"/home/robin/.my.cnf\" = \"REPLICA_LOGIN\"\n";
    robin.write("weather", "project.toml", project);
    robin.commit("weather", "Read the replicas");
    robin
        .push("weather")
        .failed()
        .says("releases/config-file")
        .says("hythe config set --run REPLICA_LOGIN=-");
    let login = "[client]\nuser = s53124\npassword = hunter2hunter2\n";
    robin.hythe_with(&["config", "set", "REPLICA_LOGIN=-", "-t", "weather"], login).ok();
    robin.push("weather").ok().says("is live");
    let script =
        "cat replica.my.cnf /home/robin/.my.cnf; echo ${REPLICA_LOGIN-none}; echo mine > replica.my.cnf";
    let ran = robin.hythe(&["run", "-t", "weather", "--", "sh", "-c", script]);
    assert_eq!(ran.out, format!("{login}{login}none\n"), "{ran:?}");
    assert!(ran.code != 0 && ran.err.contains("replica.my.cnf"), "{ran:?}");
    assert_eq!(robin.get("weather", "/env/REPLICA_LOGIN").body.trim(), "");

    // Where the image has a folder.
    robin.write("weather", "conf/README", "What is configured");
    robin.write("weather", "project.toml", "[hythe.files]\nconf = \"REPLICA_LOGIN\"\n");
    robin.commit("weather", "In its way");
    robin.push("weather").failed().says("not a directory").says("goes on serving");
    robin.write("weather", "project.toml", project);
    robin.commit("weather", "Out of its way");
    robin.push("weather").ok();

    let unset = robin.hythe(&["config", "unset", "REPLICA_LOGIN", "-t", "weather"]);
    unset.failed().says("releases/config-file");
    robin.hythe_with(&["config", "set", "REPLICA_LOGIN=-", "-t", "weather"], "user = s1\n").ok();
    let ran = robin.hythe(&["run", "-t", "weather", "--", "cat", "replica.my.cnf"]).ok();
    assert_eq!(ran.out, "user = s1\n");
    robin.hythe(&["restart", "-t", "weather"]).ok();
}

/// A first part of a release shares the traffic and is watched; where it does not do well, nothing has changed.
fn canaries(robin: &Client<'_>, server: &Server) {
    let app = |home: &str| {
        format!(
            "import os\nfrom flask import Flask\napp = Flask(__name__)\n\
             @app.get('/')\ndef home():\n    {home}\n\
             @app.get('/env/<key>')\ndef env(key):\n    return os.environ.get(key, '')\n"
        )
    };
    robin.hythe(&["scale", "web=2", "-t", "weather"]).ok();
    robin.write("weather", "project.toml", "[hythe.rollout]\ncanary = \"50 %\"\npause = \"5 s\"\n");
    let answers = |text: &str, home: &str, pushed: &dyn Fn()| {
        robin.write("weather", "app.py", &app(home));
        robin.commit("weather", text);
        answers_under_load(server.address("router"), "weather", pushed).into_keys().collect::<Vec<_>>()
    };
    let seen = answers("A canary that does well", "return 'new', 203", &|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let push = robin.push("weather").ok();
                push.says("canary: 1 of 2 ready").says("canary: does well, 0 server errors in ")
            });
            until(Duration::from_mins(1), || {
                let ps = robin.hythe(&["ps", "-t", "weather"]).ok().out;
                (ps.lines().filter(|line| line.ends_with(" canary")).count() == 1).then_some(())
            });
        });
    });
    assert_eq!(seen, [200, 203], "old and new serve side by side");
    until(Duration::from_secs(20), || (ready(robin) == 2).then_some(()));
    assert_eq!(robin.get("weather", "/").status, 203);

    let seen = answers("A canary that errs", "return 'sorry', 500", &|| {
        robin.push("weather").failed().says("rollout/canary-errors").says("goes on serving");
    });
    assert_eq!(seen, [203, 500]);
    // It is ready before that on any machine, and watched for longer. The parent of a worker is the process itself.
    let ends = "import threading\nthreading.Timer(12, lambda: os.kill(os.getppid(), 15)).start()\n";
    robin.write("weather", "app.py", &(app("return 'new', 203") + ends));
    robin.write("weather", "project.toml", "[hythe.rollout]\ncanary = \"50 %\"\npause = \"20 s\"\n");
    robin.commit("weather", "A canary that ends");
    robin.push("weather").failed().says("rollout/canary-ended").says("goes on serving");
    until(Duration::from_secs(20), || (ready(robin) == 2).then_some(()));
    assert_eq!(robin.get("weather", "/").status, 203);
    // Whoever goes back is in a hurry.
    let restored = robin.hythe(&["restart", "-t", "weather"]).ok();
    assert!(!restored.err.contains("canary"), "{}", restored.err);
    // What nobody pushed can be ended too.
    let set = robin.hythe_in_background(&["config", "set", "MOOD=odd", "-t", "weather"]);
    let rolling = until(Duration::from_secs(20), || {
        let releases = robin.hythe(&["releases", "-t", "weather"]).ok().out;
        let rolling = releases.lines().find(|line| line.contains("rolling out"))?;
        Some(rolling.split_whitespace().next()?.to_owned())
    });
    robin.hythe(&["releases", "cancel", &rolling, "-t", "weather"]).ok();
    let set = Ran::ended(set);
    set.failed().says("releases/cancelled").says("goes on serving");
    robin.hythe(&["releases", "cancel", &rolling, "-t", "weather"]).failed().says("releases/over");
    until(Duration::from_secs(20), || (ready(robin) == 2).then_some(()));
    robin.git("weather", &["checkout", "-q", "HEAD~3", "--", "app.py"]).ok();
    robin.git("weather", &["rm", "-q", "project.toml"]).ok();
    robin.commit("weather", "No canary");
    robin.push("weather").ok();
    robin.hythe(&["scale", "web=1", "-t", "weather"]).ok();
}

/// What runs by the clock, and by hand beside it.
fn jobs(robin: &Client<'_>) {
    let project = "[hythe.cron.tick]\nschedule = \"* * * * *\"\ncommand = \"echo tick for $GREETING\"\n\
                   [hythe.cron.slow]\nschedule = \"0 4 1 1 *\"\ncommand = [\"sleep\", \"300\"]\n";
    robin.write("weather", "project.toml", project);
    robin.commit("weather", "Jobs");
    robin.push("weather").ok();
    let list = robin.hythe(&["jobs", "list", "-t", "weather"]).ok().out;
    assert!(list.contains("* * * * *") && list.contains("sleep 300"), "{list}");
    robin.hythe(&["jobs", "start", "slow", "-t", "weather"]).ok();
    let slow = until(Duration::from_secs(30), || run_of(robin, "slow", "running"));
    robin.hythe(&["jobs", "start", "slow", "-t", "weather"]).failed().says("jobs/conflict");
    robin.hythe(&["jobs", "start", "other", "-t", "weather"]).failed().says("jobs/absent");
    assert_eq!(ready(robin), 1, "a run is no instance");
    robin.hythe(&["jobs", "end", &slow, "-t", "weather"]).ok();
    until(Duration::from_mins(1), || run_of(robin, "slow", "running").is_none().then_some(()));
    robin.hythe(&["jobs", "end", &slow, "-t", "weather"]).failed().says("jobs/over");

    until(Duration::from_secs(100), || run_of(robin, "tick", "succeeded"));
    let log = until(Duration::from_secs(10), || {
        let log = robin.hythe(&["logs", "-t", "weather"]).ok().out;
        log.contains(".job.tick.").then_some(log)
    });
    assert!(log.contains("tick for [masked]"), "{log}");
    robin.git("weather", &["rm", "-q", "project.toml"]).ok();
    robin.commit("weather", "No jobs");
    robin.push("weather").ok();
    robin.hythe(&["jobs", "start", "tick", "-t", "weather"]).failed().says("jobs/absent");
}

/// The newest run of a job that is in this state.
fn run_of(robin: &Client<'_>, job: &str, state: &str) -> Option<String> {
    let text = robin.hythe(&["jobs", "runs", "-t", "weather", "--json"]).ok().out;
    let runs: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut runs = runs.as_array().expect("a list").iter();
    let run = runs.find(|run| run["job"] == job && run["state"] == state)?;
    Some(run["run"].as_str().expect("a name").to_owned())
}

/// Instances that are ready.
fn ready(robin: &Client<'_>) -> usize {
    let ps = robin.hythe(&["ps", "-t", "weather"]).ok().out;
    ps.lines().filter(|line| line.contains(" ready ")).count()
}
