//! The same corridor, ending in a real cluster.

use crate::support::{Client, Clustered, Ran, kubectl, kubectl_apply, under_load, until};
use std::fmt::Write;
use std::time::Duration;

#[test]
fn a_push_ends_in_pods_of_its_own_namespace() {
    let server = Clustered::start("kube-push", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok().says("v1 is live: http://handbook.localhost");
    assert_eq!(robin.get("handbook", "/").status, 200);

    let labels =
        server.kubectl("handbook", &["get", "pods", "-o", "jsonpath={.items[*].metadata.labels}"]).ok().out;
    assert!(labels.contains(r#""hythe.dev/release":"v1""#), "{labels}");
    let ps = robin.hythe(&["ps", "-t", "handbook"]).ok().out;
    assert!(ps.contains("ready"), "{ps}");
    let image = ["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
    let image = server.kubectl("handbook", &image).ok().out;
    let releases = robin.hythe(&["releases", "-t", "handbook", "--json"]).ok().out;
    assert!(image.contains("/tools/handbook@sha256:") && releases.contains(&image), "{image} {releases}");

    robin.write("handbook", "public/index.html", "<h1>Second edition</h1>");
    robin.commit("handbook", "Second edition");
    robin.push("handbook").ok().says("v2 is live");
    assert!(robin.get("handbook", "/").body.contains("Second edition"));
    robin.hythe(&["rollback", "v1", "-t", "handbook"]).ok();
    assert!(!robin.get("handbook", "/").body.contains("Second edition"));
    robin.hythe(&["tools", "delete", "handbook", "--yes"]).ok();
    server
        .kubectl("handbook", &["get", "namespace", &server.namespace("handbook")])
        .failed()
        .says("not found");
}

#[test]
fn what_an_earlier_build_has_made_is_taken_along() {
    let server = Clustered::start("kube-earlier", "");
    let robin = Client::new(&server, "robin");
    // A Service that has an address keeps it for life.
    let namespace = server.namespace("quotes");
    let labels = format!(
        "{{app.kubernetes.io/managed-by: hythe, hythe.dev/platform: {}, hythe.dev/tool: quotes}}",
        server.platform()
    );
    kubectl_apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {labels}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {namespace}, labels: {labels}}}\n\
         spec: {{selector: {{app: other}}, ports: [{{name: http, port: 80}}]}}\n"
    ));
    let service = |field: &str| {
        let path = format!("jsonpath={{.spec.{field}}}");
        server.kubectl("quotes", &["get", "service", "web", "-o", &path]).ok().out
    };
    let address = service("clusterIP");
    assert_ne!(address, "None");
    robin.tool_from("quotes", "static-site");
    robin.push("quotes").ok().says("v1 is live");
    robin.commit("quotes", "Again");
    robin.push("quotes").ok().says("v2 is live");
    assert_eq!(robin.get("quotes", "/").status, 200);
    assert_eq!(service("clusterIP"), address);
    assert!(!service("selector").contains("other"), "{}", service("selector"));

    // What somebody else has put there stays theirs, though a release wants that name.
    let theirs = ["create", "deployment", "worker", "--image=localhost/theirs", "--replicas=0"];
    server.kubectl("quotes", &theirs).ok();
    robin.write("quotes", "Procfile", "worker: sleep 1000\n");
    robin.commit("quotes", "A worker");
    let refused = robin.push("quotes").failed().says("rollout/foreign-object").says("v2 goes on serving");
    refused.says("Deployment worker exists in the namespace");
    let image = ["get", "deployment", "worker", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
    assert_eq!(server.kubectl("quotes", &image).ok().out, "localhost/theirs");
    server.kubectl("quotes", &["delete", "deployment", "worker"]).ok();
    robin.commit("quotes", "It is gone");
    robin.push("quotes").ok().says("is live");
    robin.hythe(&["scale", "worker=1", "-t", "quotes"]).ok();
}

#[test]
fn tools_of_one_machine_go_on_in_a_cluster() {
    let server = Clustered::start_on_this_machine("kube-moved", |server| {
        let robin = Client::new(server, "robin");
        robin.tool_from("weather", "python-flask");
        robin.hythe(&["config", "set", "GREETING=hello", "-t", "weather"]).ok();
        robin.push("weather").ok().says("v1 is live");
        robin.hythe(&["scale", "web=2", "-t", "weather"]).ok();
        robin.write("weather", "note.txt", "Another image.");
        robin.commit("weather", "Another image");
        robin.push("weather").ok().says("v3 is live");
        assert_eq!(robin.get("weather", "/env/GREETING").body.trim(), "hello");
    });
    // What was live comes up there, with its config and its counts, without a push.
    let robin = Client::again(&server, "robin");
    until(Duration::from_mins(1), || (robin.get("weather", "/").status == 200).then_some(()));
    assert_eq!(robin.get("weather", "/env/GREETING").body.trim(), "hello");
    until(Duration::from_mins(1), || {
        let ps = robin.hythe(&["ps", "-t", "weather"]).ok().out;
        (ps.matches("ready").count() == 2).then_some(())
    });
    assert!(robin.hythe(&["logs", "--build", "1", "-t", "weather"]).ok().out.contains("v1 is live"));
    robin.hythe(&["rollback", "v1", "-t", "weather"]).ok();
    robin.commit("weather", "In the cluster");
    robin.push("weather").ok().says("v5 is live");
    assert_eq!(robin.get("weather", "/env/GREETING").body.trim(), "hello");
}

#[test]
fn what_is_not_ours_is_never_taken_over_and_a_quota_holds() {
    let server = Clustered::start("kube-fence", "[kubernetes.quota]\npods = 1\n");
    let robin = Client::new(&server, "robin");

    let namespace = server.namespace("quotes");
    kubectl(&["create", "namespace", &namespace]).ok();
    robin.tool_from("quotes", "static-site");
    robin.push("quotes").failed().says("rollout/foreign-object").says("Hythe never takes over");
    let labels = kubectl(&["get", "namespace", &namespace, "-o", "jsonpath={.metadata.labels}"]).ok().out;
    assert!(!labels.contains("hythe"), "{labels}");
    kubectl(&["delete", "namespace", &namespace]).ok();
    let job = "[hythe.cron.tidy]\nschedule = \"* * * * *\"\ncommand = [\"true\"]\n";
    robin.write("quotes", "project.toml", job);
    robin.commit("quotes", "Again");
    robin.push("quotes").ok().says("v2 is live");

    // One pod is all that it may have, and a rollout needs one more for a moment.
    robin.commit("quotes", "One too many");
    robin.push("quotes").failed().says("rollout/quota").says("v2 goes on serving");
    assert_eq!(robin.get("quotes", "/").status, 200);
    let running = server
        .kubectl("quotes", &["get", "deployment", "web", "-o", "jsonpath={.spec.template.metadata.labels}"])
        .ok()
        .out;
    assert!(running.contains(r#""hythe.dev/release":"v2""#), "{running}");
    // Nor may anything else run beside it, which nobody but us would tell.
    let quota = "the tool's quota is used up";
    robin.hythe(&["run", "-t", "quotes", "--", "true"]).failed().says("run/refused").says(quota);
    robin.hythe(&["jobs", "start", "tidy", "-t", "quotes"]).failed().says("jobs/refused").says(quota);
    until(Duration::from_mins(3), || {
        let log = robin.hythe(&["logs", "-t", "quotes"]).ok().out;
        let told =
            |line: &str| line.contains(".job.tidy.") && line.contains("ended: the cluster refuses its pod");
        log.lines().any(told).then_some(())
    });
    robin.write("quotes", "project.toml", "[hythe.release]\ncommand = \"true\"\n");
    robin.commit("quotes", "A command");
    let push = robin.push("quotes").failed().says("rollout/quota").says("v2 goes on serving");
    push.says("A release command runs in a pod of its own");
}

#[test]
fn what_no_node_has_room_for_is_told_while_it_waits_and_in_the_end() {
    let server = Clustered::start(
        "kube-room",
        "start = \"20 s\"\n[kubernetes.quota]\nmemory = \"8 TiB\"\n[sandbox]\nmemory = \"2 TiB\"\n",
    );
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.write("handbook", "project.toml", "[hythe.processes.web]\nmemory = \"64 MiB\"\n");
    robin.commit("handbook", "Small");
    robin.push("handbook").ok().says("v1 is live");
    robin.write("handbook", "project.toml", "[hythe.processes.web]\nmemory = \"1 TiB\"\n");
    robin.commit("handbook", "Large");
    let push = robin.push("handbook").failed().says("rollout/unschedulable").says("v1 goes on serving");
    let told = push.err.lines().find(|line| line.contains("web: 0 of 1 started; no node takes it: "));
    assert!(told.is_some_and(|line| line.contains("Insufficient memory")), "{}", push.err);
    assert_eq!(robin.get("handbook", "/").status, 200);
}

#[test]
fn what_fills_its_disk_is_told_and_what_is_left_of_it_is_no_instance() {
    let server = Clustered::start("kube-full", "[sandbox]\ndisk = \"100 MiB\"\n");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok();
    // A node measures now and then.
    robin.write("handbook", "project.toml", "[hythe.processes.web]\nreadiness = { timeout = \"3 min\" }\n");
    robin.write(
        "handbook",
        "Procfile",
        "web: sh -c 'head -c 300000000 /dev/zero > /tmp/filled; sleep 1000'\n",
    );
    robin.commit("handbook", "Fill it");
    robin.push("handbook").failed().says("rollout/disk-full").says("100 MiB").says("v1 goes on serving");
    // One that has served: another one takes its place, and it stays.
    robin.tool_from("weather", "python-procfile");
    let fill = "web: sh -c '(sleep 15; head -c 300000000 /dev/zero > /tmp/filled) & exec python3 serve.py'\n";
    robin.write("weather", "Procfile", fill);
    robin.commit("weather", "Fill it later");
    robin.push("weather").ok();
    let reasons = ["get", "pods", "-o", "jsonpath={.items[*].status.reason}"];
    until(Duration::from_mins(2), || {
        server.kubectl("weather", &reasons).ok().out.contains("Evicted").then_some(())
    });
    until(Duration::from_mins(1), || {
        let ps = robin.hythe(&["ps", "-t", "weather"]).ok().out;
        (ps.lines().filter(|line| line.starts_with("web.")).count() == 1 && ps.contains(" ready "))
            .then_some(())
    });
    until(Duration::from_mins(1), || {
        let last = robin.hythe(&["logs", "--previous", "-t", "weather"]).ok().out;
        last.contains("ended: exit 137, disk full (100 MiB)").then_some(())
    });
}

#[test]
fn a_registry_that_comes_back_and_a_pod_that_is_deleted_are_lived_with() {
    // Nothing but the tool's own image comes from the registry.
    let server = Clustered::start("kube-lost", "[builder]\nexecutor = \"sandbox\"\n");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    server.registry_away(true);
    let push = robin.git_in_background("handbook", &["push", "hythe", "main"]);
    until(Duration::from_mins(1), || {
        let pods = server.kubectl("handbook", &["get", "pods", "-o", "jsonpath={..waiting.reason}"]).out;
        pods.contains("Pull").then_some(())
    });
    server.registry_away(false);
    Ran::ended(push).ok();
    assert_eq!(robin.get("handbook", "/").status, 200);

    server.kubectl("handbook", &["delete", "pods", "--all", "--wait=false"]).ok();
    let back = robin.get_until("handbook", |answer| answer.status == 200);
    assert_eq!(back.status, 200);
    until(Duration::from_mins(1), || {
        let ps = robin.hythe(&["ps", "-t", "handbook"]).ok().out;
        (ps.lines().filter(|line| line.starts_with("web.")).count() == 1 && ps.contains(" ready "))
            .then_some(())
    });
}

#[test]
fn a_start_writes_nothing_where_nothing_differs_and_what_others_change_is_changed_back() {
    let mut server = Clustered::start("kube-start", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok();
    let versions = |server: &Clustered| {
        let kinds = "resourcequota,limitrange,networkpolicy,serviceaccount,secret,service,poddisruptionbudget,deployment";
        let each = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.managedFields[?(@.manager==\"hythe\")].time}{\"\\n\"}{end}";
        server.kubectl("handbook", &["get", kinds, "-o", each]).ok().out
    };
    let before = versions(&server);
    assert!(before.contains("Deployment web"), "{before}");
    server.restart();
    let robin = Client::again(&server, "robin");
    assert_eq!(robin.get_until("handbook", |answer| answer.status == 200).status, 200);
    // What is to be looked after is looked after within a second of the start.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(versions(&server), before);
    assert!(!server.log().contains("was mended"), "{}", server.log());

    let opened = r#"{"spec":{"ingress":[{}]}}"#;
    server.kubectl("handbook", &["patch", "networkpolicy", "closed", "--type=merge", "-p", opened]).ok();
    server.kubectl("handbook", &["delete", "service", "web"]).ok();
    server.kubectl("handbook", &["scale", "deployment", "web", "--replicas=3"]).ok();
    // What is added to a list, and what is not wished otherwise.
    server.kubectl("handbook", &["set", "env", "deployment/web", "ADDED=by-hand"]).ok();
    server.kubectl("handbook", &["rollout", "pause", "deployment/web"]).ok();
    let narrowed = r#"{"spec":{"podSelector":{"matchLabels":{"some":"other"}}}}"#;
    server.kubectl("handbook", &["patch", "networkpolicy", "to-dns", "--type=merge", "-p", narrowed]).ok();
    let look = |path: &str, what: &str| server.kubectl("handbook", &["get", what, "-o", path]).out;
    until(Duration::from_secs(20), || {
        let closed = look("jsonpath={.spec.ingress}", "networkpolicy/closed");
        let open = !(closed.trim().is_empty() || closed.trim() == "[]");
        let replicas = look("jsonpath={.spec.replicas}", "deployment/web");
        let selector = look("jsonpath={.spec.selector}", "service/web");
        let added = look("jsonpath={.spec.template.spec.containers[0].env}", "deployment/web");
        let paused = look("jsonpath={.spec.paused}", "deployment/web");
        let narrowed = look("jsonpath={.spec.podSelector}", "networkpolicy/to-dns");
        let back = !open && replicas == "1" && selector.contains("web");
        (back && !added.contains("by-hand") && paused != "true" && !narrowed.contains("other")).then_some(())
    });
    assert_eq!(robin.get_until("handbook", |answer| answer.status == 200).status, 200);
}

#[test]
fn instances_follow_their_load_and_a_release_leaves_their_number_alone() {
    let server = Clustered::start("kube-scale", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("weather", "python-procfile");
    let busy = "from http.server import *\nimport os\nclass H(BaseHTTPRequestHandler):\n    def do_GET(self):\n        \
                sum(range(400000))\n        self.send_response(200); self.end_headers(); self.wfile.write(b'x')\n\
                ThreadingHTTPServer(('0.0.0.0', int(os.environ['PORT'])), H).serve_forever()\n";
    robin.write("weather", "serve.py", busy);
    let project = "[hythe.processes.web]\ncpu = 0.2\nscale = { min = 1, max = 3, cpu = 20 }\n";
    robin.write("weather", "project.toml", project);
    robin.commit("weather", "Busy");
    robin.push("weather").ok();
    let wanted = || {
        let count =
            server.kubectl("weather", &["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"]);
        count.ok().out.parse::<u32>().expect("a number")
    };
    assert_eq!(wanted(), 1);
    under_load(server.address("router"), "weather", || {
        until(Duration::from_mins(3), || (wanted() > 1).then_some(()));
        robin.commit("weather", "While many ask");
        robin.push("weather").ok();
        assert!(wanted() > 1, "a release changes nothing about it");
        robin.hythe(&["restart", "-t", "weather"]).ok();
        assert!(wanted() > 1);
    });
    // Somebody's own number is load's again.
    server.kubectl("weather", &["scale", "deployment", "web", "--replicas=9"]).ok();
    until(Duration::from_mins(1), || (wanted() <= 3).then_some(()));
    robin.git("weather", &["rm", "-q", "project.toml"]).ok();
    robin.commit("weather", "One is enough");
    robin.push("weather").ok();
    assert_eq!(wanted(), 1);
    until(Duration::from_secs(20), || {
        server.kubectl("weather", &["get", "hpa"]).out.is_empty().then_some(())
    });
}

#[test]
fn a_command_whose_server_died_is_ended_by_the_next_one() {
    let mut server = Clustered::start("kube-left", "");
    let run = {
        let robin = Client::new(&server, "robin");
        robin.tool_from("handbook", "static-site");
        robin.push("handbook").ok();
        robin.hythe_in_background(&["run", "-t", "handbook", "--", "sleep", "1000"])
    };
    let commands = ["get", "pods", "-l", "!hythe.dev/process", "-o", "jsonpath={.items[*].status.phase}"];
    let phase = |server: &Clustered| server.kubectl("handbook", &commands).ok().out;
    until(Duration::from_mins(1), || (phase(&server) == "Running").then_some(()));
    server.kill();
    Ran::ended(run).failed();
    until(Duration::from_mins(2), || phase(&server).is_empty().then_some(()));
    let robin = Client::again(&server, "robin");
    robin.hythe(&["run", "-t", "handbook", "--", "true"]).ok();
}

#[test]
fn what_is_mended_while_a_release_command_runs_is_what_served_before() {
    let server = Clustered::start("kube-command", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok();
    robin.write(
        "handbook",
        "project.toml",
        "[hythe.release]\ncommand = \"trap '' TERM; sleep 60 & wait; sleep 60\"\n",
    );
    robin.commit("handbook", "A long migration");
    let mut push = robin.git_in_background("handbook", &["push", "hythe", "main"]);
    let of_command =
        ["get", "pods", "-l", "hythe.dev/process!=web", "-o", "jsonpath={.items[*].status.phase}"];
    until(Duration::from_mins(1), || {
        server.kubectl("handbook", &of_command).out.contains("Running").then_some(())
    });
    server.kubectl("handbook", &["delete", "service", "web"]).ok();
    until(Duration::from_secs(20), || {
        (server.kubectl("handbook", &["get", "service", "web"]).code == 0).then_some(())
    });
    let release = ["get", "deployment", "web", "-o", "jsonpath={.spec.template.metadata.labels}"];
    let running = server.kubectl("handbook", &release).ok().out;
    assert!(running.contains(r#""hythe.dev/release":"v1""#), "{running}");

    // Who gives up has nothing of the command left, though it hears no signal.
    robin.hythe(&["builds", "cancel", "2", "-t", "handbook"]).ok();
    push.wait().expect("git ends");
    let left = || server.kubectl("handbook", &of_command).out;
    assert!(!left().contains("Running"), "{}", left());
    until(Duration::from_secs(20), || left().is_empty().then_some(()));
    assert_eq!(robin.get("handbook", "/").status, 200);
}

#[test]
fn a_tool_reaches_neither_the_cluster_nor_another_tool_nor_the_metadata() {
    let server = Clustered::start("kube-attack", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("weather", "python-flask");
    robin.push("weather").ok();
    robin.tool_from("victim", "static-site");
    robin.push("victim").ok();
    let pod = ["get", "pods", "-o", "jsonpath={.items[0].status.podIP}"];
    let pod = server.kubectl("victim", &pod).ok().out;
    let _metadata = server.cluster().metadata_server();
    let places = [vec![(pod, 8080)], server.cluster().closed_to_pods()].concat();
    let mut look = "import socket, sys\ndef look(host, port):\n  s = socket.socket(); s.settimeout(2)\n  try:\n    s.connect((host, port)); print('open', host, port)\n  except OSError as e: print('closed', host, port)\n".to_owned();
    for (place, port) in &places {
        let _ = writeln!(look, "look('{place}', {port})");
    }
    let seen = robin.hythe(&["run", "-t", "weather", "--", "python3", "-c", &look]).ok().out;
    assert_eq!(seen.lines().filter(|line| line.starts_with("closed ")).count(), places.len(), "{seen}");
    // The router reaches both all the same.
    assert_eq!((robin.get("weather", "/").status, robin.get("victim", "/").status), (200, 200));
    let secrets = "ls /var/run/secrets/kubernetes.io 2>&1; id -u; grep -c . /proc/self/status; grep CapEff /proc/self/status";
    let inside = robin.hythe(&["run", "-t", "weather", "--", "sh", "-c", secrets]).ok().out;
    assert!(inside.contains("No such file") && inside.contains("CapEff:\t0000000000000000"), "{inside}");
}
