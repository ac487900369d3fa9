//! A tool's runtime log: bounded segments.
//!
//! Positions rise by one a line over all segments. How far each instance's own log has been read is written with the lines
//! themselves, so that the two cannot part: see `segments`.

mod segments;
mod stored;

pub(crate) use segments::segment_path;
pub(crate) use stored::{SourceAt, read_line};

use crate::clean::{clean, pieces};
use crate::{EventsError, LineSource, LogStore, Masker, NewLine, blocking};
use hythe_model::ToolName;
use jiff::Timestamp;
use segments::Segments;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What of a tool's log readers may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reached {
    /// First position of the segment that is being written.
    pub(crate) segment: u64,
    /// Bytes of it.
    pub(crate) bytes: u64,
    /// Whether the log is gone.
    pub(crate) removed: bool,
}

/// An open runtime log.
pub(crate) struct ToolLog {
    pub(crate) dir: PathBuf,
    state: Mutex<State>,
    pub(crate) reached: watch::Sender<Reached>,
}

struct State {
    segments: Segments,
    masker: Masker,
    removed: bool,
}

impl ToolLog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First positions of the segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<u64> {
        self.state().segments.firsts()
    }

    /// How far an instance's own log was read.
    pub(crate) fn source(&self, instance: &str) -> SourceAt {
        self.state().segments.source(instance)
    }

    /// Appends lines and, with them, how far an instance's log was read: all or nothing. Answers the last position.
    pub(crate) fn append(
        &self,
        lines: &[NewLine],
        source: Option<(&str, SourceAt)>,
        line_bytes: usize,
    ) -> Result<u64, EventsError> {
        let mut state = self.state();
        let State { segments, masker, removed } = &mut *state;
        if *removed {
            return Ok(segments.last());
        }
        let mut shown = Vec::with_capacity(lines.len());
        for line in lines {
            let text = clean(&line.text);
            let text = masker.mask(&text);
            for piece in pieces(&text, line_bytes) {
                shown.push(NewLine { text: piece.to_owned(), instance: line.instance.clone(), ..*line });
            }
        }
        segments.append(&shown, source)?;
        self.reached.send_replace(segments.reached());
        Ok(segments.last())
    }
}

impl LogStore {
    /// Masks these values in every line of this tool from now on.
    pub fn mask_tool(&self, tool: &ToolName, masker: Masker) {
        match self.tool_log(tool) {
            Ok(log) => log.state().masker = masker,
            Err(error) => tracing::error!(%tool, %error, "a tool's log could not be opened"),
        }
    }

    /// Appends a line of the platform or of the router to a tool's log, and answers its position. As quick as
    /// [`LogStore::append`].
    pub fn append_line(
        &self,
        tool: &ToolName,
        instance: &str,
        source: LineSource,
        text: &str,
    ) -> Result<u64, EventsError> {
        let line =
            NewLine { at: Timestamp::now(), instance: instance.to_owned(), source, text: text.to_owned() };
        self.append_lines(tool, &[line])
    }

    /// Appends several lines in one write, and answers the position of the last: for the router, which has many.
    pub fn append_lines(&self, tool: &ToolName, lines: &[NewLine]) -> Result<u64, EventsError> {
        self.tool_log(tool)?.append(lines, None, self.inner.limits.line_bytes)
    }

    /// Removes everything of a tool; its readers come to an end, and nothing is followed into it any more.
    pub async fn remove_tool(&self, tool: &ToolName) -> Result<(), EventsError> {
        self.unfollow_tool(tool);
        let log = self.tool_log(tool)?;
        self.tools().remove(tool);
        log.state().removed = true;
        log.reached.send_modify(|reached| reached.removed = true);
        let dir = log.dir.clone();
        blocking(&log.dir, move || match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(EventsError::write(&dir, &error))
            }
            _ => Ok(()),
        })
        .await
    }

    /// The folder of a tool's runtime log.
    pub(crate) fn tool_dir(&self, tool: &ToolName) -> PathBuf {
        self.inner.dir.join("tools").join(tool.as_str())
    }

    pub(crate) fn tool_log(&self, tool: &ToolName) -> Result<Arc<ToolLog>, EventsError> {
        let mut tools = self.tools();
        if let Some(log) = tools.get(tool) {
            return Ok(Arc::clone(log));
        }
        let dir = self.tool_dir(tool);
        let segments = Segments::open(&dir, &self.inner.syncer, self.inner.limits.tool_bytes)?;
        let reached = watch::Sender::new(segments.reached());
        let state = Mutex::new(State { segments, masker: Masker::default(), removed: false });
        let log = Arc::new(ToolLog { dir, state, reached });
        tools.insert(tool.clone(), Arc::clone(&log));
        Ok(log)
    }

    fn tools(&self) -> MutexGuard<'_, std::collections::HashMap<ToolName, Arc<ToolLog>>> {
        self.inner.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
