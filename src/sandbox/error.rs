//! What can go wrong, on either side of the socket.

use hythe_model::Fault;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What kind of failure the helper reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// No such path, sandbox or file.
    NotFound,
    /// It is there already.
    Exists,
    /// The request makes no sense.
    Invalid,
    /// The machine lacks a capability: cgroups, the tun device, a program.
    Unsupported,
    /// An archive is hostile, broken or has another digest.
    Archive,
    /// A layer or an archive goes beyond its bounds.
    TooLarge,
    /// The network of a sandbox could not be made.
    Network,
    /// The file system could not be put together.
    Mount,
    /// `runc` refused.
    Runtime,
    /// The disk is full.
    DiskFull,
    /// A system call failed.
    Io,
    /// The sandbox does not run (any more).
    NotRunning,
}

/// Why the sandbox did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The helper could not be started.
    #[error("cannot start {}: {why}", program.display())]
    Start {
        /// Its program.
        program: PathBuf,
        /// What it said.
        why: String,
    },
    /// The helper's socket could not be reached.
    #[error("cannot reach the sandbox helper at {}", socket.display())]
    Connect {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The helper went away in the middle of a request.
    #[error("the sandbox helper ended during {operation}")]
    Lost {
        /// What was asked.
        operation: &'static str,
        /// What was seen.
        source: std::io::Error,
    },
    /// The helper speaks a protocol that this program does not know.
    #[error("the sandbox helper that runs speaks protocol {theirs}, this program {ours}")]
    Version {
        /// The helper's protocol.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// The answer could not be read.
    #[error("the sandbox helper's answer to {operation} cannot be read: {why}")]
    Answer {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The helper refused or failed.
    #[error("{operation}: {message}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// The kind of failure.
        code: ErrorCode,
        /// In words.
        message: String,
    },
}

impl SandboxError {
    /// The kind of failure that the helper reported.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// This failure for a user.
    pub fn fault(&self) -> Fault {
        let (id, next) = match self.code() {
            Some(ErrorCode::Unsupported) => {
                ("sandbox/unsupported", "Ask the operator to run: hythed check-config")
            }
            Some(ErrorCode::DiskFull) => {
                ("sandbox/disk-full", "Ask the operator to free space in the data folder.")
            }
            Some(ErrorCode::Network) => ("sandbox/network", "Ask the operator to run: hythed check-config"),
            _ => ("sandbox/failed", "Try again; if it stays so, show this to the operator."),
        };
        let mut fault = Fault::new(id, "The sandbox could not do its work.").why(self.to_string());
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            fault = fault.why(error.to_string());
            cause = error.source();
        }
        fault.next(next)
    }
}
