//! Commands that run once.

use crate::support::{World, as_hythe};
use hythe_model::{Signal, TerminalSize};
use hythe_rollout::{
    ExitReason, ONE_OFF_PIECE, OneOff, OneOffOutput, OneOffSession, OneOffTerminal, Runtime,
};
use std::time::Duration;

fn one_off(world: &World, args: &[&str], terminal: Option<OneOffTerminal>) -> OneOff {
    let release = world.release(1, "web=1", &[("GREETING", "hello")]);
    OneOff { release, args: args.iter().map(|arg| (*arg).to_owned()).collect(), terminal }
}

/// What a command prints on each stream, and how it ends.
async fn ended(mut session: OneOffSession) -> (String, String, ExitReason) {
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

/// The same of a command without any input.
async fn run(world: &World, args: &[&str]) -> (String, String, ExitReason) {
    let mut session = world.runtime.run_once(one_off(world, args, None)).await.unwrap();
    session.input = None;
    ended(session).await
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
fn input_goes_in_to_its_end_and_signals_arrive() {
    as_hythe("one_off::input_goes_in_to_its_end_and_signals_arrive", || async {
        let world = World::new("input").await;
        let mut session =
            world.runtime.run_once(one_off(&world, &["/bin/busybox", "wc", "-c"], None)).await.unwrap();
        let input = session.input.take().unwrap();
        for _ in 0..100 {
            input.send(vec![b'x'; ONE_OFF_PIECE]).await.unwrap();
        }
        drop(input);
        assert_eq!(ended(session).await.0.trim(), (100 * ONE_OFF_PIECE).to_string());

        let script = "trap 'echo caught; exit 3' TERM; echo ready; while :; do /bin/busybox sleep 0.05; done";
        let mut session = world.runtime.run_once(one_off(&world, &["sh", "-c", script], None)).await.unwrap();
        let ready = session.output.recv().await.unwrap();
        assert_eq!(ready, OneOffOutput::Bytes { bytes: b"ready\n".to_vec(), error: false });
        session.signals.send(Signal::Term).await.unwrap();
        let (out, _, exit) = ended(session).await;
        assert_eq!((out.as_str(), exit.code), ("caught\n", Some(3)));
        world.end().await;
    });
}

#[test]
fn a_command_on_a_terminal_is_typed_to() {
    as_hythe("one_off::a_command_on_a_terminal_is_typed_to", || async {
        let world = World::new("typed").await;
        let size = TerminalSize { rows: 30, cols: 100 };
        let terminal = Some(OneOffTerminal { kind: "screen".to_owned(), size });
        let script = "/bin/busybox stty size; echo $TERM; /bin/busybox cat; echo end >&2; exit 4";
        let run = one_off(&world, &["sh", "-c", script], terminal);
        let mut session = world.runtime.run_once(run).await.unwrap();
        let input = session.input.take().unwrap();
        let mut shown = String::new();
        while !shown.ends_with("screen\r\n") {
            let OneOffOutput::Bytes { bytes, .. } = session.output.recv().await.unwrap() else {
                panic!("{shown:?}")
            };
            shown.push_str(&String::from_utf8(bytes).unwrap());
        }
        assert_eq!(shown, "30 100\r\nscreen\r\n");
        input.send(b"hello\r".to_vec()).await.unwrap();
        // The end of input is typed.
        drop(input);
        let (out, err, exit) = ended(session).await;
        assert_eq!((err.as_str(), exit.code), ("", Some(4)), "{out:?}");
        assert_eq!(out, "hello\r\nhello\r\nend\r\n", "once by the terminal, and once by the command");
        world.end().await;
    });
}

#[test]
fn a_session_that_is_dropped_ends_its_process() {
    as_hythe("one_off::a_session_that_is_dropped_ends_its_process", || async {
        let world = World::new("dropped").await;
        let session = world.runtime.run_once(one_off(&world, &["sleep", "1000"], None)).await.unwrap();
        assert_eq!(world.sandboxes().await, 1);
        drop(session);
        tokio::time::timeout(Duration::from_secs(2), world.until_sandboxes(0)).await.expect("it ends");
        world.end().await;
    });
}
