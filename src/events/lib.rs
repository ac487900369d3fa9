//! Build and runtime logs: stored first, streamed second.
//!
//! Enter at [`LogStore`]. A build's log is a file of numbered events; a tool's runtime log is a row of bounded segments.
//! Every reader follows the files, so that any number of them sees the same lines, from any position, and a slow one
//! slows nobody. Secrets are replaced on the way in ([`Masker`]). This room never drops a line without saying so and
//! never knows who reads.

mod build_log;
mod error;
mod ingest;
mod line;
mod mask;
mod query;
mod runtime_log;

pub use build_log::LoggedEvent;
pub use error::EventsError;
pub use ingest::{EndedInstance, InstanceLog};
pub use line::{LineSource, LogLine};
pub use mask::{MaskedLines, Masker};
pub use query::LogQuery;

use std::path::PathBuf;

/// How much is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of one build's log; output beyond them is left out, and the log says so.
    pub build_bytes: u64,
    /// Bytes of one tool's runtime log; the oldest segment goes first.
    pub tool_bytes: u64,
    /// Bytes of one line's text; longer ones are cut into several.
    pub line_bytes: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { build_bytes: 16 << 20, tool_bytes: 32 << 20, line_bytes: 16 << 10 }
    }
}

/// The logs of the platform. Cheap to clone.
#[derive(Clone)]
pub struct LogStore {}

impl LogStore {
    /// Opens or makes the folder of logs, `logs/` of the data folder.
    pub fn open(dir: impl Into<PathBuf>, limits: LogLimits) -> Result<Self, EventsError> {
        let _: PathBuf = dir.into();
        todo!("{limits:?}")
    }
}
