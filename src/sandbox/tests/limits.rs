//! Each limit, hit.

use crate::support::{World, as_hythe, path, to_null, to_pipe};
use hythe_sandbox::{ExitCause, Mount};
use std::io::Read;
use std::time::{Duration, Instant};

#[test]
fn memory() {
    as_hythe("limits::memory", || async {
        let world = World::new("memory").await;
        // A tmpfs counts as memory, so that no allocator's habits matter.
        let mut spec =
            world.script("eater", "cat /dev/zero > /dev/shm/a & cat /dev/zero > /big/b; wait; exit 1");
        spec.mounts = vec![Mount::Tmpfs { target: "/big".into(), size: 1 << 30 }];
        spec.limits.memory_bytes = 32 << 20;
        let (exit, text) = world.run(spec).await;
        assert_eq!(exit.cause, ExitCause::OutOfMemory, "{exit:?} {text}");
        let (exit, _) = world.run(world.script("modest", "true")).await;
        assert_eq!(exit.cause, ExitCause::Exited);
        world.end().await;
    });
}

#[test]
fn processes_of_a_fork_bomb() {
    as_hythe("limits::processes_of_a_fork_bomb", || async {
        let world = World::new("pids").await;
        let mut spec =
            world.script("bomb", "b() { b | b & }; b & (while :; do sleep 1000 & done) & exec sleep 1000");
        spec.limits.pids = 32;
        spec.limits.cpu_millis = 200;
        spec.limits.wall = Some(Duration::from_secs(3));
        let bomb = world.start(spec).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let usage = bomb.usage().await.unwrap();
        assert!(usage.pids > 8 && usage.pids <= 32, "{usage:?}");
        // The neighbour still runs, and the bomb ends with its time.
        let (exit, text) = world.run(world.script("neighbour", "echo well")).await;
        assert_eq!((exit.code, text.as_str()), (Some(0), "well\n"));
        let exit = bomb.wait().await.unwrap();
        assert_eq!(exit.cause, ExitCause::TimedOut);
        assert!(exit.ran < Duration::from_secs(6), "{exit:?}");
        bomb.release().await.unwrap();
        world.end().await;
    });
}

#[test]
fn cpu() {
    as_hythe("limits::cpu", || async {
        let world = World::new("cpu").await;
        let mut spec = world.script("busy", "while :; do :; done");
        spec.limits.cpu_millis = 250;
        let busy = world.start(spec).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (before, begun) = (busy.usage().await.unwrap().cpu_micros, Instant::now());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let used = busy.usage().await.unwrap().cpu_micros - before;
        let share = Duration::from_micros(used).as_secs_f64() / begun.elapsed().as_secs_f64();
        assert!(share < 0.32, "{share}");
        busy.release().await.unwrap();
        world.end().await;
    });
}

#[test]
fn disk_of_the_root_and_of_writable_binds() {
    as_hythe("limits::disk_of_the_root_and_of_writable_binds", || async {
        let world = World::new("disk").await;
        let data = path("builds/1/data");
        world.helper.make_dir(&data, (1000, 1000), 0o755).await.unwrap();
        for (id, target) in [("root", "/tmp/fill"), ("bind", "/data/fill")] {
            let mut spec = world.script(id, &format!("while :; do cat /bin/busybox >> {target}; done"));
            spec.mounts =
                vec![Mount::Bind { source: data.as_str().into(), target: "/data".into(), read_only: false }];
            spec.limits.disk_bytes = 30 << 20;
            let sandbox = world.start(spec).await;
            let exit = sandbox.wait().await.unwrap();
            assert_eq!(exit.cause, ExitCause::DiskFull, "{id}: {exit:?}");
            let upper = world.helper.usage(&path(&format!("instances/{id}"))).await.unwrap().bytes;
            let data = world.helper.usage(&data).await.unwrap().bytes;
            println!("{id}: limit 30 MiB, ended at {} MiB after {:?}", (upper + data) >> 20, exit.ran);
            assert!(upper + data < 1500 << 20, "the overshoot is too large: {upper} {data}");
            sandbox.release().await.unwrap();
            assert!(!world.helper.exists(&path(&format!("instances/{id}"))).await.unwrap());
        }
        world.end().await;
    });
}

#[test]
fn disk_filled_by_empty_files_and_hidden_deep() {
    as_hythe("limits::disk_filled_by_empty_files_and_hidden_deep", || async {
        let world = World::new("inodes").await;
        let many = "i=0; while :; do mkdir /tmp/$i; (cd /tmp/$i; for a in 1 2 3 4 5 6 7 8 9; do \
            for b in 1 2 3 4 5 6 7 8 9; do for c in 1 2 3 4 5 6 7 8 9; do : > $a$b$c; done; done; done); i=$((i+1)); done";
        let deep = "cd /tmp; i=0; while [ $i -lt 450 ]; do mkdir d; cd d; i=$((i+1)); done; sleep 60";
        for (id, script) in [("many", many), ("deep", deep)] {
            let mut spec = world.script(id, script);
            spec.limits.disk_bytes = 4 << 20;
            spec.limits.wall = Some(Duration::from_secs(40));
            let sandbox = world.start(spec).await;
            assert_eq!(sandbox.wait().await.unwrap().cause, ExitCause::DiskFull, "{id}");
            sandbox.release().await.unwrap();
        }
        world.end().await;
    });
}

#[test]
fn disk_of_deleted_files_that_are_still_open() {
    as_hythe("limits::disk_of_deleted_files_that_are_still_open", || async {
        let world = World::new("deleted").await;
        let held = "exec 3<>/tmp/x; rm /tmp/x; while :; do cat /bin/busybox >&3; done";
        let inherited = "exec 3<>/tmp/x; rm /tmp/x; (sleep 60) & while :; do cat /bin/busybox >&3; done";
        for (id, script) in [("held", held), ("inherited", inherited)] {
            let mut spec = world.script(id, script);
            spec.limits.disk_bytes = 30 << 20;
            spec.limits.wall = Some(Duration::from_secs(40));
            let sandbox = world.start(spec).await;
            assert_eq!(sandbox.wait().await.unwrap().cause, ExitCause::DiskFull, "{id}");
            sandbox.release().await.unwrap();
        }
        // What is memory counts as memory alone.
        let memory = "exec 3<>/dev/shm/x; rm /dev/shm/x; head -c 20000000 /dev/zero >&3; sleep 5; exit 7";
        let mut spec = world.script("memory", memory);
        spec.limits.disk_bytes = 8 << 20;
        let (exit, text) = world.run(spec).await;
        assert_eq!((exit.cause, exit.code), (ExitCause::Exited, Some(7)), "{text}");
        world.end().await;
    });
}

#[test]
fn wall_time() {
    as_hythe("limits::wall_time", || async {
        let world = World::new("wall").await;
        let mut spec = world.script("sleeper", "trap '' TERM INT; sleep 1000");
        spec.limits.wall = Some(Duration::from_millis(700));
        let (exit, _) = world.run(spec).await;
        assert_eq!(exit.cause, ExitCause::TimedOut);
        assert!(exit.ran < Duration::from_secs(5), "{exit:?}");
        world.end().await;
    });
}

#[test]
fn output() {
    as_hythe("limits::output", || async {
        let world = World::new("output").await;
        let mut spec = world.script("chatty", "yes gigabytes");
        spec.limits.output_bytes = Some(1 << 20);
        let (exit, text) = world.run(spec).await;
        assert_eq!(exit.cause, ExitCause::OutputTooLong);
        assert_eq!(text.len(), 1 << 20);
        // A reader that has gone does not end the sandbox.
        let mut spec = world.script("unheard", "echo one; sleep 0.3; echo two; exit 4");
        spec.limits.output_bytes = Some(1 << 20);
        let (stdio, output) = to_pipe();
        let sandbox = world.helper.run(spec, stdio).await.unwrap();
        drop(output);
        assert_eq!(sandbox.wait().await.unwrap().code, Some(4));
        world.end().await;
    });
}

#[test]
fn open_files() {
    as_hythe("limits::open_files", || async {
        let world = World::new("nofile").await;
        let mut spec = world.script("files", "ulimit -n; ulimit -Hn; ulimit -c");
        spec.limits.nofile = 77;
        let (_, text) = world.run(spec).await;
        assert_eq!(text, "77\n77\n0\n");
        world.end().await;
    });
}

#[test]
fn a_sandbox_that_ended_leaves_nothing() {
    as_hythe("limits::a_sandbox_that_ended_leaves_nothing", || async {
        let world = World::new("nothing").await;
        let sandbox = world
            .helper
            .run(world.script("orphans", "sleep 1000 & sleep 1000 & echo"), to_null())
            .await
            .unwrap();
        sandbox.wait().await.unwrap();
        sandbox.release().await.unwrap();
        // Its cgroup is gone, which it could not be with a process in it.
        let (stdio, mut output) = to_pipe();
        drop(stdio);
        output.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(cgroups_named("orphans"), 0);
        assert!(world.helper.attach("orphans").await.unwrap().is_none());
        world.end().await;
    });
}

fn cgroups_named(name: &str) -> usize {
    let folders = ["/sys/fs/cgroup/memory/hythe", "/sys/fs/cgroup/pids/hythe", "/sys/fs/cgroup/hythe"];
    let helpers = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    helpers.filter(|helper| helper.path().join(name).exists()).count()
}
