//! A tool's runtime log: bounded segments.

use crate::{EventsError, LineSource, LogStore, Masker};
use hythe_model::ToolName;

impl LogStore {
    /// Masks these values in every line of this tool from now on.
    pub fn mask_tool(&self, tool: &ToolName, masker: Masker) {
        let _ = masker;
        todo!("{tool}")
    }

    /// Appends a line of the platform or of the router to a tool's log, and answers its position.
    pub fn append_line(
        &self,
        tool: &ToolName,
        instance: &str,
        source: LineSource,
        text: &str,
    ) -> Result<u64, EventsError> {
        todo!("{tool} {instance} {source:?} {text}")
    }

    /// Removes everything of a tool.
    pub async fn remove_tool(&self, tool: &ToolName) -> Result<(), EventsError> {
        todo!("{tool}")
    }
}
