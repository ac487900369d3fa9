//! What happens when something dies or a guest is hostile.

use crate::support::{World, as_hythe, path, processes, to_null};
use hythe_model::Verdict;
use hythe_sandbox::capability::probe;
use hythe_sandbox::wire::{self, Frame};
use hythe_sandbox::{Helper, Mount, SandboxError};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[test]
fn the_helpers_death_ends_everything_and_a_new_one_starts_clean() {
    as_hythe("faults::the_helpers_death_ends_everything_and_a_new_one_starts_clean", || async {
        let mut world = World::new("death").await;
        let mark = format!("{}", 100_000 + std::process::id());
        let mut spec = world.spec("victim", &["/bin/sleep", &mark]);
        spec.network = crate::support::egress();
        let sandbox = world.start(spec).await;
        // A started sandbox is about to become its program, but may still be runc.
        let begun = Instant::now();
        while processes(&mark).len() != 1 {
            assert!(begun.elapsed() < Duration::from_secs(5), "the program does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let helper = processes(world.options().socket.to_str().unwrap());
        assert_eq!(helper.len(), 1, "the helper is one process");
        kill_process(Pid::from_raw(helper[0]).unwrap(), Signal::KILL).unwrap();
        let begun = Instant::now();
        while !processes(&mark).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(5), "a sandbox outlived its helper");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let error = sandbox.wait().await.unwrap_err();
        assert!(matches!(error, SandboxError::Connect { .. } | SandboxError::Lost { .. }), "{error:?}");
        world.reopen().await;
        assert!(world.helper.list().await.unwrap().is_empty());
        // The same name, the same upper folder, the same cgroup.
        let (exit, _) = world.run(world.script("victim", "exit 0")).await;
        assert!(exit.success());
        world.end().await;
    });
}

#[test]
fn a_guarded_helper_that_dies_is_started_again_with_what_it_kept() {
    as_hythe("faults::a_guarded_helper_that_dies_is_started_again_with_what_it_kept", || async {
        let world = World::new("guard").await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        world.helper.put_fd("front", listener.into()).await.unwrap();
        let guarded = world.helper.clone();
        tokio::spawn(async move { guarded.guard().await });
        let sandbox = world.start(world.script("victim", "sleep 1000")).await;
        let helper = processes(world.options().socket.to_str().unwrap());
        kill_process(Pid::from_raw(helper[0]).unwrap(), Signal::KILL).unwrap();
        sandbox.wait().await.unwrap_err();
        let begun = Instant::now();
        while world.helper.list_fds().await.ok().is_none_or(|names| names.is_empty()) {
            assert!(begun.elapsed() < Duration::from_secs(10), "the helper does not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(world.helper.list_fds().await.unwrap(), ["front"]);
        let (exit, _) = world.run(world.script("next", "exit 0")).await;
        assert!(exit.success());
        world.end().await;
    });
}

#[test]
fn a_folder_has_one_helper_and_it_ends_when_told() {
    as_hythe("faults::a_folder_has_one_helper_and_it_ends_when_told", || async {
        let mut world = World::new("single").await;
        let mut second = world.options().clone();
        second.socket = world.folder().join("other.sock");
        let error = Helper::open(second).await.unwrap_err();
        assert!(error.to_string().contains("another helper serves"), "{error}");
        // A service manager's SIGTERM is a proper end too.
        world.start(world.script("sleeper", "sleep 1000")).await;
        let helper = processes(world.options().socket.to_str().unwrap());
        kill_process(Pid::from_raw(helper[0]).unwrap(), Signal::TERM).unwrap();
        let begun = Instant::now();
        while !processes(world.options().socket.to_str().unwrap()).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the helper does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.reopen().await;
        world.end().await;
    });
}

#[test]
fn links_that_a_guest_lays_lead_nowhere() {
    as_hythe("faults::links_that_a_guest_lays_lead_nowhere", || async {
        let world = World::new("links").await;
        let helper = &world.helper;
        let secret = world.folder().join("secret");
        std::fs::write(&secret, "of the server").unwrap();
        let data = path("builds/1/data");
        helper.make_dir(&data, (1000, 1000), 0o755).await.unwrap();
        let folder = world.folder().display().to_string();
        let mut spec = world.script(
            "links",
            &format!("cd /data; ln -s {folder}/secret file; ln -s {folder} dir; ln -s ../../../../secret up; mkfifo pipe; ln -s / root"),
        );
        spec.mounts =
            vec![Mount::Bind { source: data.as_str().into(), target: "/data".into(), read_only: false }];
        let (exit, text) = world.run(spec).await;
        assert!(exit.success(), "{text}");
        let below = |name: &str| data.join(name).unwrap();
        for name in ["file", "up", "dir/secret", "pipe"] {
            assert!(helper.read(&below(name), 100).await.is_err(), "{name} was read");
        }
        assert!(helper.write(&below("dir/new"), "x", (0, 0), 0o644).await.is_err());
        assert!(helper.remove(&below("dir/secret")).await.is_err());
        assert!(helper.list_dir(&below("dir")).await.is_err());
        assert!(helper.make_dir(&below("dir/x/y"), (0, 0), 0o755).await.is_err());
        // Owner and mode of a link's target stay what they are.
        assert!(helper.make_dir(&below("dir"), (1000, 1000), 0o777).await.is_err());
        helper.write(&below("file"), "replaced", (0, 0), 0o644).await.unwrap();
        helper.remove(&data).await.unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "of the server");
        let mut spec = world.script("through", "true");
        helper.make_dir(&data, (1000, 1000), 0o755).await.unwrap();
        spec.mounts = vec![Mount::Bind { source: "../../etc".into(), target: "/x".into(), read_only: true }];
        assert!(helper.run(spec, to_null()).await.is_err());
        world.end().await;
    });
}

#[test]
fn another_user_of_the_machine_is_not_served() {
    // Only root can become somebody else; the socket's mode is checked here, its credentials by the helper.
    as_hythe("faults::another_user_of_the_machine_is_not_served", || async {
        let world = World::new("strangers").await;
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&world.options().socket).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        world.end().await;
    });
}

#[test]
fn the_machine_is_probed_without_disturbing_a_helper() {
    as_hythe("faults::the_machine_is_probed_without_disturbing_a_helper", || async {
        let world = World::new("probe").await;
        let options = world.options().clone();
        let found = tokio::task::spawn_blocking(move || probe(&options)).await.unwrap();
        for one in &found {
            println!(
                "{:20} {:?} {} {}",
                one.about,
                one.verdict,
                one.detail,
                one.mend.clone().unwrap_or_default()
            );
        }
        let state = |name: &str| found.iter().find(|one| one.about == name).unwrap().verdict;
        for name in ["user namespaces", "overlay", "runtime", "sandbox network", "cgroups", "tun device"] {
            assert_eq!(state(name), Verdict::Pass, "{name}");
        }
        let mut options = world.options().clone();
        options.pasta = "/nothing/pasta".into();
        options.cgroup = "nobody".into();
        let found = tokio::task::spawn_blocking(move || probe(&options)).await.unwrap();
        for name in ["pasta", "sandbox network", "cgroups"] {
            let one = found.iter().find(|one| one.about == name).unwrap();
            assert!(one.verdict == Verdict::Failure && one.mend.is_some(), "{one:?}");
        }
        let left: Vec<_> =
            std::fs::read_dir(world.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("probe")), "{left:?}");
        let (exit, _) = world.run(world.script("after", "true")).await;
        assert!(exit.success());
        world.end().await;
    });
}

#[test]
fn what_is_not_understood_is_refused_and_the_helper_goes_on() {
    as_hythe("faults::what_is_not_understood_is_refused_and_the_helper_goes_on", || async {
        let world = World::new("nonsense").await;
        let ask = |text: &str| {
            let stream = UnixStream::connect(&world.options().socket).unwrap();
            wire::send(&stream, Frame { json: text.as_bytes().to_vec(), ..Frame::default() }).unwrap();
            let answer = wire::receive(&stream).unwrap().unwrap();
            String::from_utf8(answer.json).unwrap()
        };
        let nonsense = [
            "",
            "garbage",
            r#"{"do":"nothing"}"#,
            r#"{"do":"read","path":"../../etc/passwd","max":10}"#,
            r#"{"do":"read","path":"/etc/passwd","max":10}"#,
            r#"{"do":"remove","path":".sandbox"}"#,
            r#"{"do":"put-fd","name":"without a file"}"#,
            r#"{"do":"wait","id":"nobody"}"#,
            r#"{"do":"dial","id":"nobody"}"#,
            r#"{"do":"signal","id":"nobody","signal":9}"#,
        ];
        for text in nonsense {
            assert!(ask(text).contains("refused"), "{text}");
        }
        // A frame that promises more than is allowed ends the connection, and nothing else.
        let mut stream = UnixStream::connect(&world.options().socket).unwrap();
        stream.write_all(&[0xff; 8]).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
        let mut bad = [
            world.spec("name", &["/bin/true"]),
            world.spec("empty", &["/bin/true"]),
            world.spec("no-program", &[]),
            world.spec("zero", &["/bin/true", "a\0b"]),
            world.spec("cwd", &["/bin/true"]),
            world.spec("lowers", &["/bin/true"]),
            world.spec("missing", &["/bin/true"]),
        ];
        bad[0].id = "../x".into();
        bad[1].id = String::new();
        bad[4].process.cwd = "relative".into();
        bad[5].root.lowers.clear();
        bad[6].root.lowers = vec![path("layers/nothing")];
        for spec in bad {
            let id = spec.id.clone();
            assert!(world.helper.run(spec, to_null()).await.is_err(), "{id}");
        }
        // A name and a root's changes belong to one sandbox at a time.
        world.start(world.script("taken", "sleep 100")).await;
        assert!(world.helper.run(world.script("taken", "true"), to_null()).await.is_err());
        let mut same = world.script("other", "true");
        same.root.upper = path("instances/taken");
        let error = world.helper.run(same, to_null()).await.unwrap_err();
        assert_eq!(error.code(), Some(hythe_sandbox::ErrorCode::Exists), "{error}");
        let known: Vec<String> =
            world.helper.list().await.unwrap().into_iter().map(|status| status.id).collect();
        assert_eq!(known, ["setup", "taken"]);
        world.end().await;
    });
}

#[test]
fn a_sandbox_that_does_not_start_is_released_at_once() {
    as_hythe("faults::a_sandbox_that_does_not_start_is_released_at_once", || async {
        let world = World::new("nostart").await;
        let runc = world.folder().join("runc");
        std::fs::write(&runc, "#!/bin/sh\nsleep 2\nexit 1\n").unwrap();
        std::fs::set_permissions(&runc, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut options = world.options().clone();
        (options.root, options.socket) = (world.folder().join("second"), world.folder().join("second.sock"));
        options.runc = runc;
        let helper = Helper::open(options).await.unwrap();
        helper.make_dir(&path("layers/base"), (0, 0), 0o755).await.unwrap();
        let mut spec = world.spec("late", &["/bin/true"]);
        spec.root.lowers = vec![path("layers/base")];
        let begun = Instant::now();
        let other = helper.clone();
        let starting = tokio::spawn(async move { other.run(spec, to_null()).await.map(drop) });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let late = helper.attach("late").await.unwrap().unwrap();
        let (waited, released) = tokio::join!(late.wait(), late.release());
        assert_eq!(waited.unwrap_err().code(), Some(hythe_sandbox::ErrorCode::NotRunning));
        released.unwrap();
        starting.await.unwrap().unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert!(helper.list().await.unwrap().is_empty());
        for name in ["layers", "instances"] {
            helper.remove(&path(name)).await.unwrap();
        }
        helper.shutdown().await.unwrap();
        world.end().await;
    });
}
