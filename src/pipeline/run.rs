//! One-off processes in a tool's image.

use crate::Platform;
use hythe_model::{Fault, ReleaseNumber, ToolName};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What to run once.
#[derive(Debug, Clone)]
pub struct RunOnce {
    /// The release whose image and config are used; the live one where `None`.
    pub release: Option<ReleaseNumber>,
    /// The command: a process type alone, or a program and its arguments.
    pub args: Vec<String>,
}

/// What a one-off process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutput {
    /// Bytes of standard output or, with `true`, standard error.
    Bytes {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether they came from standard error.
        error: bool,
    },
    /// The end.
    Exit {
        /// Its exit code; 128 and the signal's number where one ended it.
        code: i32,
    },
}

/// A one-off process under way. Dropping it ends the process.
#[derive(Debug)]
pub struct RunSession {
    /// Output in order; the last item is [`RunOutput::Exit`].
    pub output: mpsc::Receiver<RunOutput>,
    /// Ends the process.
    pub cancel: CancellationToken,
}

impl Platform {
    /// Starts a one-off process.
    pub async fn run_once(&self, tool: &ToolName, run: RunOnce) -> Result<RunSession, Fault> {
        todo!()
    }
}
