//! Commands that run once.

use crate::support::{World, as_hythe};
use hythe_rollout::{ExitReason, OneOff, OneOffOutput, Runtime};
use std::time::Duration;

/// What a command prints on each stream, and how it ends.
async fn run(world: &World, args: &[&str]) -> (String, String, ExitReason) {
    let release = world.release(1, "web=1", &[("GREETING", "hello")]);
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let mut session = world.runtime.run_once(OneOff { release, args }).await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match session.output.recv().await.expect("the exit comes last") {
            OneOffOutput::Bytes { bytes, error: false } => out.extend(bytes),
            OneOffOutput::Bytes { bytes, error: true } => err.extend(bytes),
            OneOffOutput::Exit(exit) => {
                assert!(session.output.recv().await.is_none());
                return (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit);
            }
        }
    }
}

#[test]
fn a_command_runs_in_the_image_with_the_config() {
    as_hythe("one_off::a_command_runs_in_the_image_with_the_config", || async {
        let world = World::new("once").await;
        let script = "echo $GREETING $HYTHE_PROCESS; echo no >&2; cat /etc/below; exit 4";
        let (out, err, exit) = run(&world, &["sh", "-c", script]).await;
        assert_eq!((out.as_str(), exit.code), ("hello run\n", Some(4)));
        assert!(
            err.starts_with("no\n") && err.contains("No such file"),
            "the upper layer took it away: {err}"
        );
        let (out, _, exit) = run(&world, &["sh", "-c", "/bin/busybox seq 1 100000"]).await;
        assert_eq!((out.lines().count(), exit.code), (100_000, Some(0)));
        world.until_sandboxes(0).await;
        world.end().await;
    });
}

#[test]
fn a_session_that_is_dropped_ends_its_process() {
    as_hythe("one_off::a_session_that_is_dropped_ends_its_process", || async {
        let world = World::new("dropped").await;
        let release = world.release(1, "web=1", &[]);
        let args = vec!["sleep".to_owned(), "1000".to_owned()];
        let session = world.runtime.run_once(OneOff { release, args }).await.unwrap();
        assert_eq!(world.sandboxes().await, 1);
        drop(session);
        tokio::time::timeout(Duration::from_secs(2), world.until_sandboxes(0)).await.expect("it ends");
        world.end().await;
    });
}
