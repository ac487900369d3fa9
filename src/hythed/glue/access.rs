//! The router's access log, written into the tools' logs.

use hythe_events::{LineSource, LogStore};
use hythe_router::{AccessEntry, AccessLog};

/// A line a request in the tool's own log.
pub(crate) struct RuntimeAccessLog(pub(crate) LogStore);

impl AccessLog for RuntimeAccessLog {
    fn log(&self, entry: &AccessEntry<'_>) {
        self.0.append_soon(entry.tool, "router", LineSource::Access, entry.to_string());
    }
}
