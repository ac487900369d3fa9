//! A process on a terminal of its own.

use crate::support::{World, as_hythe};
use hythe_model::TerminalSize;
use hythe_sandbox::{Limits, Sandbox, Terminal};
use std::time::Duration;

const SIZE: TerminalSize = TerminalSize { rows: 30, cols: 100 };

async fn start(world: &World, id: &str, script: &str) -> (Sandbox, Terminal) {
    world.helper.run_in_terminal(world.script(id, script), SIZE).await.unwrap()
}

/// Reads until the terminal has shown this, or to its end.
async fn until(terminal: &Terminal, text: &str) -> String {
    let (mut shown, mut piece) = (String::new(), [0; 1024]);
    let reading = async {
        while !shown.contains(text) {
            match terminal.read(&mut piece).await.unwrap() {
                0 => break,
                count => shown.push_str(&String::from_utf8_lossy(&piece[..count])),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("it says something");
    shown
}

#[test]
fn a_terminal_has_an_owner_a_size_and_an_end() {
    as_hythe("terminal::a_terminal_has_an_owner_a_size_and_an_end", || async {
        let world = World::new("owner").await;
        let script = "tty; stty size; ls -ln $(tty); read line; echo got $line; stty size; exit 5";
        let (sandbox, terminal) = start(&world, "owner", script).await;
        let shown = until(&terminal, "/dev/pts/0\r\n30 100\r\ncrw").await;
        assert!(shown.starts_with("/dev/pts/0\r\n30 100\r\n"), "{shown:?}");
        terminal.resize(TerminalSize { rows: 40, cols: 120 }).unwrap();
        terminal.write_all(b"hello\r").await.unwrap();
        let rest = until(&terminal, "never").await;
        // Its user owns it.
        assert!((shown + &rest).contains(" 1000 "), "{rest:?}");
        assert!(rest.ends_with("hello\r\ngot hello\r\n40 120\r\n"), "{rest:?}");
        assert_eq!(sandbox.wait().await.unwrap().code, Some(5));
        sandbox.release().await.unwrap();
        world.end().await;
    });
}

#[test]
fn keys_are_signals_and_hanging_up_is_one() {
    as_hythe("terminal::keys_are_signals_and_hanging_up_is_one", || async {
        let world = World::new("keys").await;
        let script = "trap 'echo caught' INT; echo ready; sleep 100; trap 'exit 9' HUP; \
            while :; do echo waits; sleep 0.1; done";
        let (sandbox, terminal) = start(&world, "keys", script).await;
        until(&terminal, "ready").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        terminal.write_all(&[3]).await.unwrap();
        let shown = until(&terminal, "waits").await;
        assert!(shown.contains("caught"), "{shown:?}");
        drop(terminal);
        let exit = tokio::time::timeout(Duration::from_secs(10), sandbox.wait()).await.unwrap().unwrap();
        assert_eq!(exit.code, Some(9), "{exit:?}");
        world.end().await;
    });
}

#[test]
fn what_cannot_be_on_a_terminal_is_refused_and_leaves_nothing() {
    as_hythe("terminal::what_cannot_be_on_a_terminal_is_refused_and_leaves_nothing", || async {
        let world = World::new("refused").await;
        let error = world.helper.run_in_terminal(world.spec("absent", &["/bin/nothing"]), SIZE).await;
        assert!(error.unwrap_err().to_string().contains("no such file"));
        let mut spec = world.script("counted", "echo hello");
        spec.limits = Limits { output_bytes: Some(10), ..spec.limits };
        let error = world.helper.run_in_terminal(spec, SIZE).await;
        assert!(error.unwrap_err().to_string().contains("is not counted"));
        assert!(world.helper.list().await.unwrap().iter().all(|status| status.id == "setup"));
        world.end().await;
    });
}
