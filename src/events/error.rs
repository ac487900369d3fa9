//! What can go wrong with a log.

use hythe_model::{Fault, ToolName};
use std::path::{Path, PathBuf};

/// A log could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EventsError {
    /// The folder of logs cannot be made.
    #[error("the log folder {path} cannot be used: {reason}")]
    Open {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line cannot be written.
    #[error("the log {path} cannot be written: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A log cannot be read.
    #[error("the log {path} cannot be read: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An instance's name names no release, or cannot be a file's.
    #[error("`{name}` is not an instance's name")]
    Name {
        /// What was given.
        name: String,
    },
    /// What is to be masked of a tool cannot be had: nothing of it is stored.
    #[error("what is to be masked in lines of {tool} is not known")]
    Unmasked {
        /// The tool.
        tool: ToolName,
    },
    /// No masker can be made of a config.
    #[error("what a config holds cannot be looked for: {reason}")]
    Unmaskable {
        /// Why.
        reason: String,
    },
}

impl EventsError {
    pub(crate) fn write(path: &Path, error: &impl std::fmt::Display) -> Self {
        Self::Write { path: path.to_owned(), reason: error.to_string() }
    }

    pub(crate) fn read(path: &Path, error: &impl std::fmt::Display) -> Self {
        Self::Read { path: path.to_owned(), reason: error.to_string() }
    }
}

impl From<EventsError> for Fault {
    fn from(error: EventsError) -> Self {
        Fault::new("events/failed", "A log could not be read or written.")
            .why(error.to_string())
            .next("`hythed check-config` checks the disk.")
    }
}
