//! The server goes away and comes back.

use crate::support::{Client, Server, until};
use anyhow::{Context, Result};
use hythe_model::{Actor, ReleaseCause, ToolName};
use hythe_store::{ConfigEdit, ConfigScope, ConfigValue, NewRelease, Store};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn tools_outlive_the_server_and_a_kill_loses_nothing() {
    let mut server = Server::start("restart", "");
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("weather", "python-flask");
        robin.push("weather").ok();
        robin.tool_from("slow", "static-site");
        robin.push("slow").ok();
    }

    // A drain and a start, as in an upgrade: connections wait in the kept listener, and no request fails.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let router = server.address("router").to_owned();
        let stop = &stop;
        let load = scope.spawn(move || {
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let url = format!("http://{router}/");
                let mut curl = std::process::Command::new("curl");
                let args = [
                    "-sS",
                    "-o",
                    "/dev/null",
                    "--max-time",
                    "30",
                    "-w",
                    "%{http_code}",
                    "-H",
                    "Host: slow.localhost",
                ];
                let output = curl.args(args).arg(url).output().expect("curl");
                let status = String::from_utf8_lossy(&output.stdout).into_owned();
                assert_eq!(status, "200", "{}", String::from_utf8_lossy(&output.stderr));
                answered += 1;
            }
            answered
        });
        server.stop();
        server.spawn();
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        assert!(load.join().expect("no request failed") > 0);
    });

    // A kill: what was acknowledged is there, instances run on, the next push works.
    let before = {
        let robin = Client::again(&server, "robin");
        robin.hythe(&["ps", "-t", "weather", "--json"]).ok().out
    };
    server.kill();
    server.spawn();
    let robin = Client::again(&server, "robin");
    let after = robin.hythe(&["ps", "-t", "weather", "--json"]).ok().out;
    let names = |text: &str| text.matches("v1").count();
    assert_eq!(names(&before), names(&after), "{before}\n{after}");
    assert_eq!(robin.get("weather", "/").status, 200);
    robin.commit("weather", "After the kill");
    robin.push("weather").ok().says("v2 is live");
}

#[test]
fn a_detached_build_goes_on_after_a_kill() {
    let mut server = Server::start("detached", "");
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("weather", "python-flask");
        robin
            .git("weather", &["push", "-o", "detach", "hythe", "main"])
            .ok()
            .says("refs/hythe/builds/1")
            .says("Watch it: hythe builds attach 1 -t weather");
        let remote = robin.git("weather", &["ls-remote", "hythe", "refs/heads/main"]).ok().out;
        assert_eq!(remote, "", "a detached push leaves the branch alone");
    }
    // In the middle of the build: its sandbox has just been started.
    std::thread::sleep(Duration::from_millis(700));
    server.kill();
    server.spawn();
    let robin = Client::again(&server, "robin");
    let page = robin.get_until("weather", |answer| answer.status == 200);
    assert!(page.body.contains("Hello"), "{page:?}");
    let head = robin.git("weather", &["rev-parse", "main"]).ok().out;
    let remote = robin.git("weather", &["ls-remote", "hythe", "refs/heads/main"]).ok().out;
    assert!(remote.starts_with(head.trim()), "the branch follows when the release is live");
}

#[test]
fn a_backup_restores_into_an_empty_folder() {
    let server = Server::start("backup", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok();
    robin.hythe(&["config", "set", "SECRET=kept safe", "-t", "handbook"]).ok();

    let backup = server.folder().join("monday");
    server.hythed(&["backup", backup.to_str().expect("a path")]).ok();
    let restored = Server::restored("restored", &backup, server.token());
    let again = Client::moved(&restored, &robin, "robin");
    let page = again.get_until("handbook", |answer| answer.status == 200);
    assert_eq!(page.body, robin.get("handbook", "/").body);
    let config = again.hythe(&["config", "list", "-t", "handbook", "--json"]).ok().out;
    assert!(config.contains("SECRET"), "{config}");
    again.commit("handbook", "On the new machine");
    again.push("handbook").ok().says("v3 is live");
}

#[test]
fn what_a_job_of_an_earlier_release_prints_is_masked_after_a_restart_too() {
    let (old, new) = ("first-secret-value", "second-secret-value");
    let mut server = Server::start("restart-masks", "");
    let shown = |server: &Server| {
        let log = Client::again(server, "robin").hythe(&["logs", "-t", "handbook"]).ok().out;
        assert!(!log.contains(old) && !log.contains(new), "{log}");
        log.lines().filter(|line| line.contains(".job.slow.") && line.contains("knows [masked]")).count()
    };
    let until_it_prints = |server: &Server, count: usize| {
        until(Duration::from_secs(30), || Some(shown(server)).filter(|lines| *lines >= count))
    };
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("handbook", "static-site");
        let job = "[hythe.cron.slow]\nschedule = \"0 4 1 1 *\"\ncommand = \"while sleep 0.2; do echo knows $TOKEN; done\"\n";
        robin.write("handbook", "project.toml", job);
        robin.commit("handbook", "A job");
        robin.hythe(&["config", "set", &format!("TOKEN={old}"), "-t", "handbook"]).ok();
        robin.push("handbook").ok();
        robin.hythe(&["jobs", "start", "slow", "-t", "handbook"]).ok();
        until_it_prints(&server, 3);
        robin.hythe(&["config", "set", &format!("TOKEN={new}"), "-t", "handbook"]).ok();
    }
    for _ in 0..3 {
        let before = shown(&server);
        server.kill();
        server.spawn();
        until_it_prints(&server, before + 10);
    }
}

/// Begins a release that nobody goes on with, of a config that no key opens.
async fn begin_what_cannot_run(store: Store) -> Result<()> {
    let (tool, actor) = ("handbook".parse::<ToolName>()?, Actor::Platform);
    let live = store.live_release(&tool).await?.context("a live release")?;
    let value = ConfigValue { key: "SECRET".to_owned(), sealed: b"nothing".into(), scope: ConfigScope::Run };
    let config = store.change_config(&tool, live.config, vec![ConfigEdit::Set(value)], &actor).await?;
    let release = NewRelease {
        tool: live.tool.clone(),
        image: live.image,
        commit: live.commit,
        processes: live.processes,
        project: live.project,
        config,
        formation: live.formation,
        cause: ReleaseCause::Config { keys: vec!["SECRET".to_owned()] },
        message: None,
        actor,
        build: None,
    };
    store.create_release(release).await?;
    // The newest is nobody's trouble.
    let taken_out = vec![ConfigEdit::Unset("SECRET".to_owned())];
    store.change_config(&live.tool, config, taken_out, &Actor::Platform).await?;
    Ok(())
}

#[test]
fn one_tools_config_that_does_not_open_keeps_no_server_from_starting() {
    let mut server = Server::start("unopened", "");
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("handbook", "static-site");
        robin.push("handbook").ok().says("v1 is live");
    }
    server.stop();
    server.change_rows(begin_what_cannot_run);
    server.spawn();
    let robin = Client::again(&server, "robin");
    assert_eq!(robin.get("handbook", "/").status, 200);
    let releases = robin.hythe(&["releases", "-t", "handbook"]).ok().out;
    assert!(releases.lines().any(|line| line.starts_with("v2") && line.contains("failed")), "{releases}");
    robin.commit("handbook", "After it");
    robin.push("handbook").ok().says("v3 is live");
}
