//! What a sandbox is from inside, and how it is run.

use crate::support::{World, as_hythe, path, to_null, to_pipe};
use hythe_sandbox::{ExitCause, Helper, Mount, OverlayMount, SandboxState, Stdio};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[test]
fn exit_codes_signals_and_output_arrive() {
    as_hythe("running::exit_codes_signals_and_output_arrive", || async {
        let world = World::new("codes").await;
        let (exit, text) = world.run(world.script("one", "echo $GREETING; echo oops >&2; exit 7")).await;
        assert_eq!((exit.code, exit.cause), (Some(7), ExitCause::Exited));
        assert_eq!(text, "hello\noops\n");
        let (exit, _) = world.run(world.script("two", "kill -9 $$ ; sleep 5")).await;
        // Process 1 of a PID namespace is immune against itself.
        assert_eq!(exit.code, Some(0));
        let sandbox =
            world.start(world.script("three", "trap 'exit 3' TERM; while :; do sleep 0.1; done")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        sandbox.signal(15).await.unwrap();
        assert_eq!(sandbox.wait().await.unwrap().code, Some(3));
        // Without a handler too, although the kernel spares process 1: alone, or with children who get it instead.
        for script in ["exec sleep 100", "sleep 100; sleep 0.2"] {
            let sandbox = world.start(world.script("default", script)).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            sandbox.signal(15).await.unwrap();
            let exit = tokio::time::timeout(Duration::from_secs(10), sandbox.wait()).await.unwrap().unwrap();
            assert!(exit.signal == Some(15) || exit.code == Some(0), "{script}: {exit:?}");
            sandbox.release().await.unwrap();
        }
        let sandbox = world.start(world.script("four", "sleep 100")).await;
        sandbox.kill().await.unwrap();
        let exit = sandbox.wait().await.unwrap();
        assert_eq!((exit.signal, exit.cause), (Some(9), ExitCause::Killed));
        let error = world.helper.run(world.spec("five", &["/bin/nothing"]), to_null()).await.unwrap_err();
        assert!(error.to_string().contains("no such file"), "{error}");
        assert!(world.helper.list().await.unwrap().iter().all(|status| status.id != "five"));
        world.end().await;
    });
}

#[test]
fn inside_there_is_no_privilege_and_nothing_of_the_machine() {
    as_hythe("running::inside_there_is_no_privilege_and_nothing_of_the_machine", || async {
        let world = World::new("inside").await;
        let script = "id -u; id -g; hostname; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | tr -s '\\t' ' '; \
            ls /proc | grep -c '^[0-9]'; unshare -U true 2>&1; mount -t tmpfs x /tmp 2>&1; mknod /tmp/d b 8 0 2>&1; \
            ls /var /root /home 2>&1; cat /proc/1/environ | tr '\\0' '\\n' | sort; touch /etc/x 2>&1; echo w > /tmp/w && cat /tmp/w; \
            cat /proc/kcore 2>/dev/null | wc -c; ls /sys/fs/cgroup | wc -l";
        let (exit, text) = world.run(world.script("look", script)).await;
        println!("{text}");
        assert_eq!(exit.code, Some(0));
        let has = |needle: &str| assert!(text.contains(needle), "{needle} in:\n{text}");
        assert!(text.starts_with("1000\n1000\nbox\n"), "{text}");
        has("CapEff: 0000000000000000");
        has("CapBnd: 0000000000000000");
        has("NoNewPrivs: 1");
        has("Seccomp: 2");
        has("unshare: ");
        has("mount: permission denied");
        has("mknod: /tmp/d: Operation not permitted");
        has("touch: /etc/x: Permission denied");
        has("GREETING=hello\nHOME=/\nPATH=/usr/local/sbin");
        assert!(!text.contains("HOME=/var"), "the server's environment leaks:\n{text}");
        assert!(text.ends_with("w\n0\n0\n"), "{text}");
        world.end().await;
    });
}

#[test]
fn mounts_appear_where_they_should_and_only_the_writable_ones_are() {
    as_hythe("running::mounts_appear_where_they_should_and_only_the_writable_ones_are", || async {
        let world = World::new("mounts").await;
        let data = path("builds/1/data");
        world.helper.make_dir(&data, (1000, 1000), 0o755).await.unwrap();
        world.helper.write(&data.join("given").unwrap(), "given", (0, 0), 0o644).await.unwrap();
        let host = world.folder().join("host.txt");
        std::fs::write(&host, "of the machine").unwrap();
        let mut spec = world.script(
            "mounts",
            "cat /data/given; echo made > /data/made; cat /host.txt; echo x 2>/dev/null > /host.txt || echo closed; \
             cat /etc/own.conf; echo x > /scratch/x; cat /etc/hosts | head -1; cat /etc/resolv.conf",
        );
        let bind = |source: &str, target: &str, read_only| Mount::Bind {
            source: PathBuf::from(source),
            target: target.into(),
            read_only,
        };
        spec.mounts = vec![
            bind(data.as_str(), "/data", false),
            bind(host.to_str().unwrap(), "/host.txt", true),
            Mount::File { target: "/etc/own.conf".into(), content: b"own\n".to_vec(), mode: 0o444 },
            Mount::Tmpfs { target: "/scratch".into(), size: 1 << 20 },
        ];
        let (exit, text) = world.run(spec).await;
        assert_eq!(exit.code, Some(0), "{text}");
        assert!(text.starts_with("givenof the machineclosed\nown\n127.0.0.1 localhost box\n"), "{text}");
        assert_eq!(world.helper.read(&data.join("made").unwrap(), 100).await.unwrap(), b"made\n");
        world.end().await;
    });
}

#[test]
fn an_overlay_that_stays_collects_what_runs_write() {
    as_hythe("running::an_overlay_that_stays_collects_what_runs_write", || async {
        let world = World::new("overlay").await;
        let helper = &world.helper;
        for slice in ["a", "b"] {
            let folder = path(&format!("builds/1/{slice}"));
            helper.make_dir(&folder, (1000, 1000), 0o755).await.unwrap();
            helper.write(&folder.join("name").unwrap(), slice, (1000, 1000), 0o644).await.unwrap();
            helper.write(&folder.join(slice).unwrap(), slice, (1000, 1000), 0o644).await.unwrap();
        }
        let (upper, target) = (path("builds/1/upper"), path("builds/1/layers"));
        helper.make_dir(&upper, (1000, 1000), 0o755).await.unwrap();
        let lowers = vec![path("builds/1/b"), path("builds/1/a")];
        helper.mount(OverlayMount { lowers, upper: upper.clone(), target: target.clone() }).await.unwrap();
        let mut spec =
            world.script("writer", "cat /layers/name; rm /layers/a; echo new > /layers/new; ls /layers");
        spec.mounts =
            vec![Mount::Bind { source: target.as_str().into(), target: "/layers".into(), read_only: false }];
        let (exit, text) = world.run(spec).await;
        assert_eq!((exit.code, text.as_str()), (Some(0), "bb\nname\nnew\n"));
        assert_eq!(helper.list_dir(&target).await.unwrap(), ["b", "name", "new"]);
        assert_eq!(helper.list_dir(&upper).await.unwrap(), ["a", "new"]);
        assert!(helper.remove(&path("builds/1")).await.is_err(), "a mounted folder is not removed");
        helper.unmount(&target).await.unwrap();
        assert_eq!(helper.list_dir(&target).await.unwrap(), Vec::<String>::new());
        assert_eq!(helper.read(&path("builds/1/a/a"), 10).await.unwrap(), b"a");
        world.end().await;
    });
}

#[test]
fn a_client_that_comes_back_finds_what_runs_and_its_open_files() {
    as_hythe("running::a_client_that_comes_back_finds_what_runs_and_its_open_files", || async {
        let world = World::new("reconnect").await;
        let logs = world.folder().join("logs");
        let stdio = Stdio::Log { dir: logs.clone(), segment_bytes: 1 << 20, segments: 2 };
        let signal = path("builds/1/signal");
        world.helper.make_dir(&signal, (0, 0), 0o755).await.unwrap();
        let script =
            "echo first; echo bad >&2; while [ ! -e /signal/go ]; do sleep 0.05; done; echo second; exit 5";
        let mut spec = world.script("kept", script);
        spec.mounts =
            vec![Mount::Bind { source: signal.as_str().into(), target: "/signal".into(), read_only: true }];
        world.helper.run(spec, stdio).await.unwrap();
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        world.helper.put_fd("listener", OwnedFd::from(theirs)).await.unwrap();
        let log = logs.join("0000000001.log");
        while !std::fs::read_to_string(&log).unwrap().contains("e bad") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Another server process: nothing is shared but the options.
        let other = Helper::open(world.options().clone()).await.unwrap();
        assert_eq!(other.list_fds().await.unwrap(), ["listener"]);
        let kept = other.take_fd("listener").await.unwrap().unwrap();
        std::os::unix::net::UnixStream::from(kept).write_all(b"x").unwrap();
        ours.read_exact(&mut [0]).unwrap();
        assert!(other.take_fd("nothing").await.unwrap().is_none());
        let status = other.list().await.unwrap().into_iter().find(|status| status.id == "kept").unwrap();
        assert_eq!((status.state, status.labels["test"].as_str()), (SandboxState::Running, "kept"));
        assert!(other.attach("nobody").await.unwrap().is_none());
        let sandbox = other.attach("kept").await.unwrap().unwrap();
        let (first, second) = (sandbox.clone(), sandbox.clone());
        let waits = [
            tokio::spawn(async move { first.wait().await }),
            tokio::spawn(async move { second.wait().await }),
        ];
        other.write(&signal.join("go").unwrap(), "", (0, 0), 0o644).await.unwrap();
        for wait in waits {
            assert_eq!(wait.await.unwrap().unwrap().code, Some(5));
        }
        let log = std::fs::read_to_string(log).unwrap();
        let lines: Vec<&str> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!((lines.len(), lines[2]), (3, "o second"), "{log}");
        assert!(lines.contains(&"o first") && lines.contains(&"e bad"), "{log}");
        world.end().await;
    });
}

#[test]
fn what_a_whole_run_costs() {
    as_hythe("running::what_a_whole_run_costs", || async {
        let world = World::new("cost").await;
        let ways = [
            ("no network", hythe_sandbox::Network::None, 0),
            ("egress, one after the other", crate::support::egress(), 0),
            ("egress, now and then", crate::support::egress(), 1000),
        ];
        for (what, network, pause) in ways {
            let mut times = Vec::new();
            for number in 0..9 {
                let mut spec = world.spec(&format!("cost-{number}"), &["/bin/true"]);
                spec.network = network.clone();
                let (stdio, mut output) = to_pipe();
                let begun = Instant::now();
                let sandbox = world.helper.run(spec, stdio).await.unwrap();
                let started = begun.elapsed();
                let exit = sandbox.wait().await.unwrap();
                times.push((begun.elapsed(), started));
                assert!(exit.success());
                output.read_to_end(&mut Vec::new()).unwrap();
                sandbox.release().await.unwrap();
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            times.sort_unstable();
            println!("run with {what}: median {:?} whole, {:?} to its start", times[4].0, times[4].1);
            assert!(times[4].0 < Duration::from_secs(2));
        }
        world.end().await;
    });
}
