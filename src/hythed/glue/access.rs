//! The router's access log, written into the tools' logs.

use hythe_events::{LineSource, LogStore};
use hythe_router::{AccessEntry, AccessLog};

/// A line a request in the tool's own log.
pub(crate) struct RuntimeAccessLog(pub(crate) LogStore);

impl AccessLog for RuntimeAccessLog {
    fn log(&self, entry: &AccessEntry<'_>) {
        if let Err(error) = self.0.append_line(entry.tool, "router", LineSource::Access, &entry.to_string()) {
            tracing::warn!(%error, "an access log line was lost");
        }
    }
}
