//! How a verb ends badly: the fault in words, and the exit code that scripts see.
//!
//! The only place that knows exit codes; `hythe --help` lists them.

use hythe_model::Fault;
use std::io;

/// The exit codes of `hythe`, except for `hythe run`, which ends as its process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// It was tried and did not work.
    Failed = 1,
    /// The command line says nothing that can be done.
    Usage = 2,
    /// There is no such thing, or it is not for this token.
    NotFound = 3,
    /// The server cannot be reached or is not ready.
    Unreachable = 4,
    /// The server does not know the token, or there is none.
    Login = 5,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
    /// The reader of our output has gone, as in `hythe logs | head`.
    Pipe = 141,
}

/// Why a verb ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told to the user.
    Fault(Code, Fault),
    /// The screen says it already.
    Told(Code),
    /// The exit code of somebody else's process.
    Exit(u8),
}

impl Failure {
    /// A command line that cannot be carried out.
    pub(crate) fn usage(id: &str, what: impl Into<String>) -> Self {
        Self::Fault(Code::Usage, Fault::new(format!("usage/{id}"), what))
    }

    /// Something on this machine that did not work.
    pub(crate) fn local(id: &str, what: impl Into<String>) -> Self {
        Self::Fault(Code::Failed, Fault::new(format!("client/{id}"), what))
    }

    /// Adds a line of detail.
    #[must_use]
    pub(crate) fn why(self, line: impl Into<String>) -> Self {
        self.with(|fault| fault.why(line))
    }

    /// Adds a line that says what to do.
    #[must_use]
    pub(crate) fn next(self, line: impl Into<String>) -> Self {
        self.with(|fault| fault.next(line))
    }

    fn with(self, change: impl FnOnce(Fault) -> Fault) -> Self {
        match self {
            Self::Fault(code, fault) => Self::Fault(code, change(fault)),
            other => other,
        }
    }

    /// What the program exits with.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Fault(code, _) | Self::Told(code) => *code as u8,
            Self::Exit(code) => *code,
        }
    }
}

/// Writing to the screen failed: nearly always because its reader has gone.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Told(Code::Pipe);
        }
        Self::local("output", "The output cannot be written.").why(error.to_string())
    }
}
