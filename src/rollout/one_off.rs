//! A command that runs once: what is asked, and the session with it, the same for sandboxes here and for pods of a cluster.
//!
//! Enter at [`OneOffSession::pair`]: whoever asked holds the session, the runtime the other ends.

use crate::runtime::RunnableRelease;
use crate::status::ExitReason;
use hythe_model::{Fault, Process, Signal, TerminalSize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Pieces of output that wait for their reader; then the process waits.
const OUTPUT: usize = 64;
/// Pieces of input that wait for the process; then whoever sends waits.
const INPUT: usize = 8;
/// Signals on their way. Like the kernel's, one that is on its way already need not be sent again.
const SIGNALS: usize = 8;
/// Most bytes of a piece, either way.
pub const ONE_OFF_PIECE: usize = 16 << 10;
/// Ctrl-D: the end of what is typed at a terminal.
pub(crate) const END_OF_TYPING: u8 = 4;

/// A command to run once.
#[derive(Debug, Clone)]
pub struct OneOff {
    /// The release whose image, config and settings are used.
    pub release: RunnableRelease,
    /// A process type alone, or a program and its arguments.
    pub args: Vec<String>,
    /// The terminal that it gets; pipes where `None`.
    pub terminal: Option<OneOffTerminal>,
}

/// A terminal of a command's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOffTerminal {
    /// What kind it is, its `$TERM`.
    pub kind: String,
    /// Its size at the start.
    pub size: TerminalSize,
}

impl OneOff {
    /// What is started.
    pub(crate) fn command(&self) -> Vec<String> {
        started(&self.release.release.processes, &self.args)
    }
}

/// What is started for these words: a process type alone as such; anything else is a program, looked up by the launcher.
pub(crate) fn started(processes: &[Process], words: &[String]) -> Vec<String> {
    match words {
        [kind] if processes.iter().any(|process| process.kind.as_str() == kind) => {
            vec![format!("/cnb/process/{kind}")]
        }
        words => ["/cnb/lifecycle/launcher", "--"]
            .into_iter()
            .map(str::to_owned)
            .chain(words.iter().cloned())
            .collect(),
    }
}

/// What a one-off process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OneOffOutput {
    /// Bytes as they came, at most [`ONE_OFF_PIECE`].
    Bytes {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether they came from standard error; what a terminal shows does not.
        error: bool,
    },
    /// The end; nothing follows.
    Exit(ExitReason),
}

/// A one-off process under way. Dropping it ends the process.
#[derive(Debug)]
pub struct OneOffSession {
    /// What the process reads, in order and in pieces of at most [`ONE_OFF_PIECE`]. Dropping it ends the input.
    ///
    /// On a terminal the end is typed, as Ctrl-D. Sending waits while the process does not read, and fails once it reads
    /// nothing any more.
    pub input: Option<mpsc::Sender<Vec<u8>>>,
    /// The size of its terminal, where it has one.
    pub size: watch::Sender<TerminalSize>,
    /// Signals to the process. In a cluster each of them arrives as SIGTERM, once, and SIGKILL follows after the release's
    /// grace.
    pub signals: mpsc::Sender<Signal>,
    /// Output in order; the last item is [`OneOffOutput::Exit`]. A reader that stops reading stops the process's writing.
    pub output: mpsc::Receiver<OneOffOutput>,
    /// Ends the process when cancelled.
    pub cancel: CancellationToken,
    _guard: DropGuard,
}

/// The runtime's ends of a session.
#[derive(Debug)]
pub struct OneOffEnds {
    /// See [`OneOffSession::input`].
    pub input: mpsc::Receiver<Vec<u8>>,
    /// See [`OneOffSession::size`].
    pub size: watch::Receiver<TerminalSize>,
    /// See [`OneOffSession::signals`].
    pub signals: mpsc::Receiver<Signal>,
    /// See [`OneOffSession::output`].
    pub output: mpsc::Sender<OneOffOutput>,
}

impl OneOffSession {
    /// A session whose process ends when `cancel` is cancelled, and what the runtime serves it by.
    pub fn pair(terminal: Option<&OneOffTerminal>, cancel: CancellationToken) -> (Self, OneOffEnds) {
        let (to_process, input) = mpsc::channel(INPUT);
        let (resize, size) = watch::channel(terminal.map(|terminal| terminal.size).unwrap_or_default());
        let (signal, signals) = mpsc::channel(SIGNALS);
        let (say, output) = mpsc::channel(OUTPUT);
        let ends = OneOffEnds { input, size, signals, output: say };
        let guard = cancel.clone().drop_guard();
        let input = Some(to_process);
        (Self { input, size: resize, signals: signal, output, cancel, _guard: guard }, ends)
    }
}

/// A command could not be started.
pub(crate) fn not_started(why: impl Into<String>) -> Fault {
    Fault::new("run/not-started", "The command could not be started.")
        .why(why)
        .next("Try again; where it stays so, the operator finds more in the server's log.")
}

/// Does the first to its end, and the second for as long as that takes.
pub(crate) async fn beside<T, U>(first: impl Future<Output = T>, second: impl Future<Output = U>) -> T {
    let second = async {
        second.await;
        std::future::pending::<T>().await
    };
    tokio::select! { done = first => done, never = second => never }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_type_alone_is_started_as_such() {
        let command = |words: &[&str]| {
            let release = crate::local::testing::release("weather", 1, "web=1");
            let args = words.iter().map(|word| (*word).to_owned()).collect();
            OneOff { release, args, terminal: None }.command()
        };
        assert_eq!(command(&["web"]), ["/cnb/process/web"]);
        assert_eq!(command(&["sh"]), ["/cnb/lifecycle/launcher", "--", "sh"]);
        assert_eq!(command(&["web", "x"]), ["/cnb/lifecycle/launcher", "--", "web", "x"]);
    }
}
