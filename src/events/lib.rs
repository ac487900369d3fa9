//! Build and runtime logs: stored first, streamed second.
//!
//! Enter at [`LogStore`]. A build's log is a file of numbered events; a tool's runtime log is a row of bounded segments. Where several
//! servers share the logs (`shared`), both are rows and objects. Every reader follows what is stored, so that any number of them
//! sees the same lines, from any position, and a slow one slows nobody. Secrets are replaced on the way in ([`Masker`]). This room never drops a line without saying so and
//! never knows who reads.

mod build_log;
mod clean;
mod error;
mod gather;
mod ingest;
mod journal;
mod line;
mod mask;
mod masks;
mod query;
mod reading;
mod runtime_log;
mod shared;
mod tail;

#[cfg(test)]
mod tests;

pub use build_log::LoggedEvent;
pub use error::EventsError;
pub use ingest::{EndedInstance, InstanceLog};
pub use line::{LineSource, LogLine, NewLine};
pub use mask::{Masker, Secret};
pub use masks::{MaskerOf, Printing};
pub use query::LogQuery;
pub use reading::{InstanceLines, LinePlace};
pub use shared::SharedPlace;

use hythe_model::{BuildId, ToolName};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

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
pub struct LogStore {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    limits: LogLimits,
    syncer: Arc<journal::Syncer>,
    builds: Mutex<HashMap<BuildId, Arc<build_log::BuildLog>>>,
    tools: Mutex<runtime_log::ToolLogs>,
    followers: Mutex<HashMap<(ToolName, String), ingest::Follower>>,
    gathered: Arc<gather::Gathered>,
    masks: Arc<masks::Masks>,
    /// The logs, where several servers share them.
    shared: Option<Arc<shared::SharedLogs>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.syncer.close();
        self.gathered.close();
    }
}

impl LogStore {
    /// Opens or makes the folder of logs, `logs/` of the data folder; `builds/` and `tools/` in it are this room's. Call it on a runtime.
    pub fn open(dir: impl Into<PathBuf>, limits: LogLimits) -> Result<Self, EventsError> {
        let gathered = Arc::<gather::Gathered>::default();
        let store = Self::open_with(dir, limits, gathered.clone(), Arc::default(), None)?;
        tokio::spawn(gather::write(gathered, Arc::downgrade(&store.inner)));
        Ok(store)
    }

    /// The same with logs that several servers share.
    pub fn open_shared(
        dir: impl Into<PathBuf>,
        limits: LogLimits,
        place: SharedPlace,
    ) -> Result<Self, EventsError> {
        let (gathered, masks) = (Arc::<gather::Gathered>::default(), Arc::<masks::Masks>::default());
        let shared = shared::SharedLogs::new(place, limits.clone(), gathered.clone(), masks.clone());
        Self::open_with(dir, limits, gathered, masks, Some(shared))
    }

    fn open_with(
        dir: impl Into<PathBuf>,
        limits: LogLimits,
        gathered: Arc<gather::Gathered>,
        masks: Arc<masks::Masks>,
        shared: Option<Arc<shared::SharedLogs>>,
    ) -> Result<Self, EventsError> {
        let dir: PathBuf = dir.into();
        let fault =
            |error: std::io::Error| EventsError::Open { path: dir.clone(), reason: error.to_string() };
        std::fs::create_dir_all(dir.join("builds")).map_err(fault)?;
        std::fs::create_dir_all(dir.join("tools")).map_err(fault)?;
        let syncer = journal::Syncer::start().map_err(fault)?;
        let (builds, tools, followers) = (Mutex::default(), Mutex::default(), Mutex::default());
        let dir = dir.clone();
        let inner = Inner { dir, limits, syncer, builds, tools, followers, gathered, masks, shared };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// Runs work that may wait for the disk.
async fn blocking<T: Send + 'static>(
    path: &std::path::Path,
    work: impl FnOnce() -> Result<T, EventsError> + Send + 'static,
) -> Result<T, EventsError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => Err(EventsError::read(path, &error)),
    }
}
