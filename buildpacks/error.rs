//! How a buildpack ends when it cannot go on.

use crate::Fault;
use std::io;
use std::path::PathBuf;

/// Why a buildpack cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BuildpackError {
    /// Something that the user can put right.
    #[error("{}", .0.what)]
    Fault(Fault),
    /// A file operation failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Files {
        /// What was tried, as in `copy`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program does not start.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program of the stack does not do what it always does.
    #[error("{0}")]
    Unexpected(String),
}

impl BuildpackError {
    /// Makes the error of a file operation.
    pub fn files(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Files { operation, path, source }
    }
}

impl From<Fault> for BuildpackError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<BuildpackError> for libcnb::Error<BuildpackError> {
    fn from(error: BuildpackError) -> Self {
        Self::BuildpackError(error)
    }
}

/// Prints an error: a fault as the line that a platform reads, anything else as plain text on standard error.
pub fn report(error: &libcnb::Error<BuildpackError>) {
    match error {
        libcnb::Error::BuildpackError(BuildpackError::Fault(fault)) => println!("{}", fault.line()),
        libcnb::Error::BuildpackError(error) => eprintln!("error: {error}"),
        error => eprintln!("error: {error}"),
    }
}
