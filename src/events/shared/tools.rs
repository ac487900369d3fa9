//! Runtime logs that several servers write and read: rows in pieces while they are young, segments that are objects later.
//!
//! One task a server writes what has gathered of all tools, a batch a transaction, with how far each instance was read. Readers
//! follow the store, on the writer's server too. A log that gets long loses its oldest pieces to a segment, and its oldest segments
//! to nothing.

mod ends;
mod reader;
mod segments;
mod writer;

use super::SharedPlace;
use super::followed::Followed;
use crate::gather::Gathered;
use crate::masks::Masks;
use crate::runtime_log::SourceAt;
use crate::{EventsError, LogLimits, LogLine, LogQuery};
use futures::stream::BoxStream;
use hythe_model::ToolName;
use std::path::Path;
use std::sync::Arc;

/// The runtime logs of all servers.
pub(crate) struct SharedTools {
    place: SharedPlace,
    limits: LogLimits,
    gathered: Arc<Gathered>,
    masks: Arc<Masks>,
    followed: Arc<Followed>,
}

fn failed_read(of: &str, error: &dyn std::fmt::Display) -> EventsError {
    EventsError::read(Path::new(of), &error.to_string())
}

fn failed_write(of: &str, error: &dyn std::fmt::Display) -> EventsError {
    EventsError::write(Path::new(of), &error.to_string())
}

/// How far an instance was read, from how it is stored.
fn mark(of: &ToolName, stored: Option<&str>) -> Result<SourceAt, EventsError> {
    let read = |text| serde_json::from_str(text).map_err(|error| failed_read(of.as_str(), &error));
    stored.map_or(Ok(SourceAt::Start), read)
}

/// How far an instance was read, as it is stored.
fn stored(mark: SourceAt) -> Option<String> {
    (mark != SourceAt::Start).then(|| serde_json::to_string(&mark).unwrap_or_default())
}

impl SharedTools {
    /// Begins to write what gathers. Call it on a runtime.
    pub(super) fn start(
        place: SharedPlace,
        limits: LogLimits,
        gathered: Arc<Gathered>,
        masks: Arc<Masks>,
        followed: Arc<Followed>,
    ) -> Arc<Self> {
        let tools = Arc::new(Self { place, limits, gathered, masks, followed });
        tokio::spawn(writer::work(tools.clone()));
        tools
    }

    /// How far an instance was read; `None` where there is no such tool.
    pub(crate) async fn source(
        &self,
        tool: &ToolName,
        instance: &str,
    ) -> Result<Option<SourceAt>, EventsError> {
        let source = self.place.store.log_source(tool, instance).await;
        let source = source.map_err(|error| failed_read(tool.as_str(), &error))?;
        source.map(|source| mark(tool, source.read_to.as_deref())).transpose()
    }

    pub(crate) fn read(
        self: &Arc<Self>,
        tool: &ToolName,
        query: LogQuery,
    ) -> BoxStream<'static, Result<LogLine, EventsError>> {
        reader::read(self.clone(), tool.clone(), query)
    }

    /// Removes a tool's log with its objects. Call it before the tool's row goes: what comes late goes with that.
    pub(crate) async fn remove(&self, tool: &ToolName) -> Result<(), EventsError> {
        let failed = |error: &dyn std::fmt::Display| failed_write(tool.as_str(), error);
        self.masks.forget(tool);
        let log = self.place.store.tool_log(tool, u64::MAX).await.map_err(|error| failed(&error))?;
        let Some(log) = log.map(|part| part.log) else { return Ok(()) };
        self.place.store.remove_log(&log).await.map_err(|error| failed(&error))?;
        self.remove_objects(&log).await
    }
}
