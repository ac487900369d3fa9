//! Reading a tool's runtime log.

use crate::{EventsError, LineSource, LogLine, LogStore};
use futures::stream::BoxStream;
use hythe_model::ToolName;
use jiff::Timestamp;

/// What to read. The default is everything kept, without waiting for more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// From this position on.
    pub from: Option<u64>,
    /// Written at this time or after it.
    pub since: Option<Timestamp>,
    /// Of those that are stored, the last so many.
    pub tail: Option<usize>,
    /// Waits for more.
    pub follow: bool,
    /// Of instances whose name starts with this, as in `v14.web` or `router`.
    pub instance: Option<String>,
    /// Of these sources; of all where empty.
    pub sources: Vec<LineSource>,
}

impl LogStore {
    /// Reads a tool's runtime log.
    pub fn lines(
        &self,
        tool: &ToolName,
        query: LogQuery,
    ) -> BoxStream<'static, Result<LogLine, EventsError>> {
        todo!("{tool} {query:?}")
    }
}
