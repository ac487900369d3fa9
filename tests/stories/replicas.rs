//! Two servers that share all of the work, on one database, one folder and one cluster.

use super::attack::build;
use super::faults::live_commit;
use crate::support::{Client, Ran, Replicas, answers_under_load, under_load, until};
use std::process::Child;
use std::time::{Duration, Instant};

/// Everything.
const ALL: [&str; 2] = ["", ""];

fn head(client: &Client<'_>, tool: &str) -> String {
    client.git(tool, &["rev-parse", "HEAD"]).ok().out.trim().to_owned()
}

/// Where a tool's deploy branch stands, as this server tells it.
fn told(client: &Client<'_>, tool: &str) -> String {
    let said = client.git(tool, &["ls-remote", "hythe", "refs/heads/main"]).ok().out;
    said.split_whitespace().next().unwrap_or_default().to_owned()
}

fn is_live(client: &Client<'_>, tool: &str, release: &str) -> bool {
    let releases = client.hythe(&["releases", "-t", tool]).ok().out;
    releases.lines().any(|line| line.starts_with(&format!("{release} ")) && line.contains("live"))
}

/// A tool whose build takes as long as its script says.
pub(super) fn slow_tool(robin: &Client<'_>, tool: &str) {
    robin.tool_from(tool, "static-site");
    robin.git(tool, &["rm", "-rq", "public"]).ok();
    build(robin, tool, "console.log('quick')\n").ok();
}

/// Ends a server at once, as a power cut would.
pub(super) fn kill(pid: &str) {
    let killed = std::process::Command::new("kill").args(["-9", pid]).status().expect("kill");
    assert!(killed.success());
}

pub(super) fn slowly(robin: &Client<'_>, tool: &str, seconds: u32) {
    let script = format!("console.log('WORKING'); setTimeout(() => {{}}, {seconds}000);\n");
    robin.write(tool, "build.js", &script);
    robin.commit(tool, "Slowly");
}

#[test]
fn either_server_takes_any_push_and_knows_what_the_other_took() {
    let replicas = Replicas::start("replicas-both", ALL);
    let robin = Client::new(&replicas.one, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok().says("v1 is live");
    let other = Client::moved(&replicas.two, &robin, "robin");
    assert_eq!(robin.get("handbook", "/").status, 200);
    assert_eq!(other.get_until("handbook", |answer| answer.status == 200).status, 200);
    assert_eq!(told(&other, "handbook"), head(&robin, "handbook"), "the other one tells the ref");
    let log = other.hythe(&["logs", "--build", "1", "-t", "handbook"]).ok().out;
    assert!(log.contains("v1 is live") && log.contains("source"), "{log}");

    // The other one goes on where the first one was.
    other.write("handbook", "public/index.html", "<h1>Second edition</h1>");
    other.commit("handbook", "Second edition");
    other.push("handbook").ok().says("v2 is live");
    robin.get_until("handbook", |answer| answer.body.contains("Second edition"));
    robin.git("handbook", &["pull", "-q", "--ff-only", "hythe", "main"]).ok();
    assert_eq!(
        head(&robin, "handbook"),
        head(&other, "handbook"),
        "and what it took is fetched from the first"
    );
    other.hythe(&["rollback", "v1", "-t", "handbook"]).ok();
    robin.get_until("handbook", |answer| !answer.body.contains("Second edition"));
    assert_ne!(told(&robin, "handbook"), head(&robin, "handbook"), "the ref names what is live");

    // Two at the same instant: one goes live, and whoever does not is told why.
    robin.git("handbook", &["fetch", "-q", "hythe"]).ok();
    robin.git("handbook", &["reset", "-q", "--hard", "hythe/main"]).ok();
    other.git("handbook", &["fetch", "-q", "hythe"]).ok();
    other.git("handbook", &["reset", "-q", "--hard", "hythe/main"]).ok();
    for (client, text) in [(&robin, "one"), (&other, "two")] {
        client.write("handbook", "public/index.html", text);
        client.commit("handbook", text);
    }
    let push = ["push", "hythe", "main"];
    let both = [&robin, &other].map(|client| client.git_in_background("handbook", &push));
    let [one, two] = both.map(Ran::ended);
    assert!((one.code == 0) != (two.code == 0), "one of them is live\n{}\n{}", one.err, two.err);
    let (loser, winner) = if one.code == 0 { (&two.err, &robin) } else { (&one.err, &other) };
    assert!(loser.contains("push/superseded") || loser.contains("push/branch-moved"), "{loser}");
    for client in [&robin, &other] {
        assert_eq!(told(client, "handbook"), head(winner, "handbook"));
    }

    // A tool that one removes the other knows no more.
    robin.hythe(&["tools", "delete", "handbook", "--yes"]).ok();
    other.git("handbook", &["ls-remote", "hythe"]).failed().says("handbook");
    other.get_until("handbook", |answer| answer.status == 404);
}

#[test]
fn each_part_of_the_work_has_a_server_of_its_own() {
    let replicas = Replicas::start("replicas-split", ["ssh,api", "builder,controller"]);
    let third = replicas.third("router");
    let router = third.address("router");
    let robin = Client::new(&replicas.one, "robin");
    robin.tool_from("weather", "python-flask");
    robin.push("weather").ok().says("v1 is live");
    robin.hythe(&["scale", "web=2", "-t", "weather"]).ok();
    robin.write("weather", "project.toml", "[hythe.rollout]\ncanary = \"50 %\"\npause = \"8 s\"\n");
    // Who watches a canary carries no traffic, and knows how it does.
    let push = |text: &str, status: u32| {
        let home = format!(
            "from flask import Flask\napp = Flask(__name__)\n@app.get('/')\ndef home():\n    return 'x', {status}\n"
        );
        robin.write("weather", "app.py", &home);
        robin.commit("weather", text);
        let mut ran = None;
        let seen = answers_under_load(router, "weather", || ran = Some(robin.push("weather")));
        (ran.expect("it was pushed"), seen)
    };
    let (well, seen) = push("Does well", 203);
    let said = well.ok().err;
    assert!(seen.contains_key(&200) && seen.contains_key(&203), "{seen:?}");
    let watched = said.lines().find(|line| line.contains("canary: does well, 0 server errors in "));
    assert!(watched.is_some_and(|line| !line.contains("in 0 answers")), "{said}");
    let (errs, seen) = push("Errs", 500);
    errs.failed().says("rollout/canary-errors").says("goes on serving");
    assert!(seen.contains_key(&203) && seen.contains_key(&500), "{seen:?}");
    // Nothing is told of what nobody watches.
    until(Duration::from_secs(20), || {
        let left = replicas.rows.sql(&replicas.url, "SELECT count(*) FROM instance_answers");
        (left.trim() == "0").then_some(())
    });
    let log = robin.hythe(&["logs", "-t", "weather", "-n", "2000"]).ok().out;
    assert!(log.contains("router") && log.contains(" 500 "), "what the router says is there\n{log}");
    robin.hythe(&["restart", "-t", "weather"]).ok();
}

#[test]
fn what_one_server_took_the_other_builds_and_a_cancel_reaches_it() {
    let replicas = Replicas::start("replicas-roles", ["ssh,api,router", ""]);
    let robin = Client::new(&replicas.one, "robin");
    // The first one builds nothing, and shows what the other one prints while it prints it.
    slow_tool(&robin, "slow");
    slowly(&robin, "slow", 6);
    let push = robin.git_in_background("slow", &["push", "hythe", "main"]);
    replicas.until_a_build_runs();
    let reader = robin.hythe_in_background(&["builds", "attach", "2", "-t", "slow"]);
    Ran::ended(push).ok().says("WORKING").says("v2 is live");
    let reader = Ran::ended(reader);
    assert!(reader.out.contains("WORKING"), "{reader:?}");

    slowly(&robin, "slow", 100);
    robin.git("slow", &["push", "-o", "detach", "hythe", "main"]).ok();
    replicas.until_a_build_runs();
    robin.hythe(&["builds", "cancel", "3", "-t", "slow"]).ok();
    until(Duration::from_secs(20), || {
        let builds = robin.hythe(&["builds", "list", "-t", "slow", "--json"]).ok().out;
        builds.contains("cancelled").then_some(())
    });
    // A client that goes away ends what runs elsewhere.
    slowly(&robin, "slow", 101);
    let mut push = robin.git_in_background("slow", &["push", "hythe", "main"]);
    replicas.until_a_build_runs();
    let children = ["-KILL", "-P", &push.id().to_string()];
    assert!(std::process::Command::new("pkill").args(children).status().expect("pkill").success());
    push.wait().expect("it ends");
    let left = || replicas.kubectl_of_builds(&["get", "pods", "-l", "hythe.dev/build", "-o", "name"]).out;
    until(Duration::from_secs(30), || left().trim().is_empty().then_some(()));

    // Ten pushes of ten tools over both.
    let other = Client::moved(&replicas.two, &robin, "robin");
    let tools: Vec<_> = (0..10).map(|number| format!("page{number}")).collect();
    for (number, tool) in tools.iter().enumerate() {
        [&robin, &other][number % 2].tool_from(tool, "static-site");
    }
    let push = |(number, tool): (usize, &String)| {
        [&robin, &other][number % 2].git_in_background(tool, &["push", "hythe", "main"])
    };
    let pushes: Vec<_> = tools.iter().enumerate().map(push).collect();
    for push in pushes {
        Ran::ended(push).ok().says("v1 is live");
    }
    for tool in &tools {
        robin.get_until(tool, |answer| answer.status == 200);
        other.get_until(tool, |answer| answer.status == 200);
    }
}

#[test]
fn a_server_that_is_killed_loses_nothing() {
    let replicas = Replicas::start("replicas-kill", ALL);
    let robin = Client::new(&replicas.one, "robin");
    slow_tool(&robin, "slow");
    let other = Client::moved(&replicas.two, &robin, "robin");
    slowly(&robin, "slow", 8);
    robin.git("slow", &["push", "-o", "detach", "hythe", "main"]).ok();
    replicas.until_a_build_runs();
    let holder = replicas.rows.sql(&replicas.url, "SELECT claimed_by FROM builds WHERE state = 'running'");
    // Whichever runs it dies; the other one takes the build up within the time of its claim.
    let pid = holder.rsplit('-').nth(1).expect("a process").to_owned();
    assert!([replicas.one.pid(), replicas.two.pid()].contains(&pid), "{holder}");
    let is_first = replicas.one.pid() == pid;
    kill(&pid);
    let survivor = if is_first { &other } else { &robin };
    until(Duration::from_mins(2), || is_live(survivor, "slow", "v2").then_some(()));
    survivor.get_until("slow", |answer| answer.status == 200);
    let log = survivor.hythe(&["logs", "--build", "2", "-t", "slow"]).ok().out;
    assert!(log.contains("another one goes on with it"), "{log}");
}

#[test]
fn a_server_that_dies_in_a_canarys_pause_leaves_no_half() {
    let replicas = Replicas::start("replicas-pause", ALL);
    let robin = Client::new(&replicas.one, "robin");
    robin.tool_from("handbook", "static-site");
    robin.write("handbook", "project.toml", "[hythe.rollout]\ncanary = 1\npause = \"20 s\"\n");
    robin.commit("handbook", "A canary");
    robin.push("handbook").ok().says("v1 is live");
    robin.hythe(&["scale", "web=2", "-t", "handbook"]).ok();
    let other = Client::moved(&replicas.two, &robin, "robin");
    robin.write("handbook", "public/index.html", "<h1>Second edition</h1>");
    robin.commit("handbook", "Second edition");
    robin.git("handbook", &["push", "-o", "detach", "hythe", "main"]).ok();
    let has_canary =
        |client: &Client<'_>| client.hythe(&["ps", "-t", "handbook"]).ok().out.contains(" canary");
    until(Duration::from_mins(1), || has_canary(&robin).then_some(()));
    let holder = replicas.rows.sql(&replicas.url, "SELECT claimed_by FROM builds WHERE state = 'running'");
    let pid = holder.rsplit('-').nth(1).expect("a process").to_owned();
    let (survivor, server) =
        if replicas.one.pid() == pid { (&other, &replicas.two) } else { (&robin, &replicas.one) };
    under_load(server.address("router"), "handbook", || {
        kill(&pid);
        until(Duration::from_mins(3), || is_live(survivor, "handbook", "v3").then_some(()));
    });
    survivor.get_until("handbook", |answer| answer.body.contains("Second edition"));
    is_sound(survivor, "handbook");
    until(Duration::from_mins(1), || {
        let left = replicas.kubectl_of("handbook", &["get", "deployments", "-o", "name"]).ok().out;
        (left.trim() == "deployment.apps/web" && !has_canary(survivor)).then_some(())
    });
}

#[test]
fn a_command_whose_server_died_is_ended_and_one_of_a_server_that_lives_is_not() {
    let replicas = Replicas::start("replicas-left", ALL);
    let robin = Client::new(&replicas.one, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok();
    let other = Client::moved(&replicas.two, &robin, "robin");
    let run = |client: &Client<'_>, seconds: &str| {
        client.hythe_in_background(&[
            "run",
            "-t",
            "handbook",
            "--",
            "sh",
            "-c",
            &format!("sleep {seconds}; echo slept"),
        ])
    };
    let pods = || {
        let path = "jsonpath={range .items[*]}{.metadata.name}={.status.phase} {end}";
        let said =
            replicas.kubectl_of("handbook", &["get", "pods", "-l", "!hythe.dev/process", "-o", path]).out;
        said.split_whitespace()
            .filter_map(|pod| Some(pod.strip_suffix("=Running")?.to_owned()))
            .collect::<Vec<_>>()
    };
    let left = run(&robin, "1000");
    let left_pod = until(Duration::from_mins(1), || pods().pop());
    let lives = run(&other, "100");
    until(Duration::from_mins(1), || (pods().len() == 2).then_some(()));
    kill(&replicas.one.pid());
    Ran::ended(left).failed();
    until(Duration::from_mins(2), || (!pods().contains(&left_pod)).then_some(()));
    assert_eq!(Ran::ended(lives).ok().out, "slept\n");
}

#[test]
fn a_client_whose_server_dies_is_told_and_pushes_to_the_other() {
    let replicas = Replicas::start("replicas-client", ALL);
    let robin = Client::new(&replicas.one, "robin");
    slow_tool(&robin, "slow");
    slowly(&robin, "slow", 60);
    let push = robin.git_in_background("slow", &["push", "hythe", "main"]);
    replicas.until_a_build_runs();
    kill(&replicas.one.pid());
    Ran::ended(push).failed();
    let other = Client::moved(&replicas.two, &robin, "robin");
    // What the dead one had taken is ended with its reason, and its pod goes.
    until(Duration::from_mins(1), || {
        let builds = other.hythe(&["builds", "list", "-t", "slow", "--json"]).ok().out;
        builds.contains("push/interrupted").then_some(())
    });
    slowly(&other, "slow", 1);
    other.push("slow").ok().says("v2 is live");
    other.get_until("slow", |answer| answer.status == 200);

    // The database is started again in the middle of a push.
    slowly(&other, "slow", 6);
    let push = other.git_in_background("slow", &["push", "hythe", "main"]);
    replicas.until_a_build_runs();
    replicas.rows.crash_and_restart();
    Ran::ended(push).ok().says("v3 is live");
}

/// That a tool's deploy branch is what is live, and that nothing is half way.
fn is_sound(client: &Client<'_>, tool: &str) {
    assert_eq!(live_commit(client, tool), told(client, tool));
}

const PAGES: [&str; 4] = ["page0", "page1", "page2", "page3"];

/// Pushes a page of every tool, of two clients by turns.
fn push_all(clients: [&Client<'_>; 2], text: &str) -> Vec<Child> {
    let each = PAGES.into_iter().zip(clients.into_iter().cycle());
    let push = each.map(|(tool, client)| {
        // Either has what the other one took.
        client.git(tool, &["fetch", "-q", "hythe"]).ok();
        client.git(tool, &["reset", "-q", "--hard", "hythe/main"]).ok();
        client.write(tool, "public/index.html", text);
        client.commit(tool, text);
        client.git_in_background(tool, &["push", "hythe", "main"])
    });
    push.collect()
}

#[test]
fn a_database_that_starts_again_and_again_under_load_or_is_away_loses_nothing() {
    let replicas = Replicas::start("replicas-rows", ALL);
    let robin = Client::new(&replicas.one, "robin");
    for tool in PAGES {
        robin.tool_from(tool, "static-site");
        robin.push(tool).ok();
    }
    let other = Client::moved(&replicas.two, &robin, "robin");
    let (clients, router) = ([&robin, &other], replicas.two.address("router"));
    other.get_until("page0", |answer| answer.status == 200);

    // Whoever pushes and asks meanwhile sees nothing of it.
    under_load(router, "page0", || {
        let pushes = push_all(clients, "restarted");
        for _ in 0..4 {
            replicas.rows.crash_and_restart();
            for client in clients {
                let begun = Instant::now();
                client.hythe(&["releases", "-t", "page1"]).ok();
                assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
            }
            std::thread::sleep(Duration::from_secs(2));
        }
        for push in pushes {
            Ran::ended(push).ok().says("v2 is live");
        }
    });
    for tool in PAGES {
        is_sound(&robin, tool);
        assert_eq!(other.get_until(tool, |answer| answer.status == 200).body, "restarted");
    }
    away(&replicas, clients, router);
}

/// A database that is away for long: whoever asks is told, what runs is served, and afterwards all goes on.
fn away(replicas: &Replicas, clients: [&Client<'_>; 2], router: &str) {
    let [robin, other] = clients;
    under_load(router, "page0", || {
        let pushes = push_all(clients, "away");
        replicas.rows.crash();
        std::thread::sleep(Duration::from_secs(5));
        let begun = Instant::now();
        robin.hythe(&["releases", "-t", "page1"]).failed().says("database");
        assert!(begun.elapsed() < Duration::from_secs(44), "{:?}", begun.elapsed());
        std::thread::sleep(Duration::from_secs(45));
        replicas.rows.resume();
        for push in pushes {
            let push = Ran::ended(push);
            assert!((push.code == 0) == push.err.contains("is live"), "{}", push.err);
        }
    });
    for tool in PAGES {
        until(Duration::from_mins(2), || {
            let listed = robin.hythe(&["builds", "list", "-t", tool, "--json"]);
            let open = listed.out.contains("\"running\"") || listed.out.contains("\"queued\"");
            (listed.code == 0 && !open).then_some(())
        });
    }
    for push in push_all(clients, "afterwards") {
        Ran::ended(push).ok().says("is live");
    }
    for tool in PAGES {
        is_sound(other, tool);
        assert_eq!(robin.get_until(tool, |answer| answer.body == "afterwards").status, 200);
    }
}

#[test]
fn a_release_command_of_a_server_that_died_is_over_before_the_next_one_begins() {
    let replicas = Replicas::start("replicas-command", ALL);
    let robin = Client::new(&replicas.one, "robin");
    robin.tool_from("half", "static-site");
    let command = |client: &Client<'_>, seconds: u32| {
        let project = format!("[hythe.release]\ncommand = \"sleep {seconds}\"\n");
        client.write("half", "project.toml", &project);
        client.commit("half", "A command");
        client.git_in_background("half", &["push", "hythe", "main"])
    };
    let running = || {
        let path = "jsonpath={range .items[*]}{.metadata.labels.hythe\\.dev/release} {.status.containerStatuses[*].state.running}{\"\\n\"}{end}";
        let pods = replicas.kubectl_of("half", &["get", "pods", "-o", path]).out;
        let running = pods.lines().filter(|line| line.contains("startedAt"));
        running.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    let first = command(&robin, 300);
    until(Duration::from_mins(1), || (running() == ["v1"]).then_some(()));
    kill(&replicas.one.pid());
    Ran::ended(first);
    let other = Client::moved(&replicas.two, &robin, "robin");
    let second = command(&other, 5);
    until(Duration::from_mins(1), || {
        let running = running();
        assert!(running.len() < 2, "{running:?}");
        (running == ["v2"]).then_some(())
    });
    Ran::ended(second).ok().says("v2 is live");
}

#[test]
fn servers_that_are_replaced_one_after_the_other_drop_neither_a_push_nor_a_request() {
    let mut replicas = Replicas::start("replicas-replaced", ALL);
    {
        let robin = Client::new(&replicas.one, "robin");
        slow_tool(&robin, "slow");
        let other = Client::moved(&replicas.two, &robin, "robin");
        other.get_until("slow", |answer| answer.status == 200);
    }
    for (number, release) in ["v2", "v3"].into_iter().enumerate() {
        let (leaving, staying) =
            if number == 0 { (&replicas.one, &replicas.two) } else { (&replicas.two, &replicas.one) };
        let (robin, router) = (Client::again(leaving, "robin"), staying.address("router").to_owned());
        robin.git("slow", &["pull", "-q", "--ff-only", "hythe", "main"]).ok();
        slowly(&robin, "slow", 8);
        let push = robin.git_in_background("slow", &["push", "hythe", "main"]);
        replicas.until_a_build_runs();
        under_load(&router, "slow", || {
            replicas.replace(number, || {
                Ran::ended(push).ok().says(&format!("{release} is live"));
            });
        });
    }
    let robin = Client::again(&replicas.one, "robin");
    assert!(is_live(&robin, "slow", "v3"));
    robin.get_until("slow", |answer| answer.status == 200);
}
