//! A program on a terminal, and somebody who types.

use nix::pty::openpty;
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long something may take to be shown. A pod takes its time to start.
const PATIENCE: Duration = Duration::from_mins(1);

/// A program on a terminal of its own, which is also its controlling one.
pub(crate) struct Typed {
    child: Child,
    keys: File,
    /// The program's end, kept open: a terminal that nobody has open forgets how it was.
    terminal: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<String>>,
    /// Where that begins which was not looked at.
    from: usize,
}

impl Typed {
    /// Starts a program on a terminal of so many rows and columns.
    pub(crate) fn start(command: &Command, size: (u16, u16)) -> Self {
        let pty = openpty(None, None).expect("a terminal");
        let (keys, terminal) = (File::from(pty.master), pty.slave);
        tcsetwinsize(&keys, winsize(size)).expect("a size");
        let before = tcgetattr(&terminal).expect("a terminal");
        let end = || terminal.try_clone().expect("a descriptor");
        // Its kernel tells of sizes whoever has it as the controlling terminal.
        let mut on_it = Command::new("setsid");
        on_it.arg("--ctty").arg(command.get_program()).args(command.get_args());
        on_it.current_dir(command.get_current_dir().expect("a folder"));
        on_it.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        on_it.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = on_it.spawn().expect("setsid runs");
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut screen, seen) = (keys.try_clone().expect("a descriptor"), shown.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut piece) {
                let text = String::from_utf8_lossy(&piece[..count]);
                seen.lock().expect("no panic").push_str(&text);
            }
        });
        Self { child, keys, terminal, before, shown, from: 0 }
    }

    /// Types, and waits until the screen shows this.
    #[track_caller]
    pub(crate) fn type_until(&mut self, keys: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        self.keys.write_all(keys.as_bytes()).expect("the program has its terminal");
        loop {
            let shown = self.shown.lock().expect("no panic").clone();
            if let Some(at) = shown[self.from..].find(wanted) {
                self.from += at + wanted.len();
                return;
            }
            assert!(Instant::now() < deadline, "no {wanted:?} in {:?}", &shown[self.from..]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, size: (u16, u16)) {
        tcsetwinsize(&self.keys, winsize(size)).expect("a size");
    }

    /// Types, and waits for the program's end: its exit code, and whether the terminal is as it was.
    pub(crate) fn end(mut self, keys: &str) -> (Option<i32>, bool) {
        self.keys.write_all(keys.as_bytes()).expect("the program has its terminal");
        let code = self.child.wait().expect("a status").code();
        let after = tcgetattr(&self.terminal).expect("a terminal");
        let modes = |of: &Termios| (of.input_modes, of.output_modes, of.local_modes);
        (code, modes(&after) == modes(&self.before))
    }
}

fn winsize((ws_row, ws_col): (u16, u16)) -> Winsize {
    Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }
}
