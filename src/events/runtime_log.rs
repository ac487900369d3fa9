//! A tool's runtime log: bounded segments.
//!
//! Positions rise by one a line over all segments. How far each instance's own log has been read is written with the lines
//! themselves, so that the two cannot part: see `segments`. Where several servers share the logs they are elsewhere: see `shared`.

mod segments;
mod stored;

pub(crate) use segments::segment_path;
pub(crate) use stored::{SourceAt, Stored, read_line, read_line_at};

use crate::clean::{clean, pieces};
use crate::gather::Read;
use crate::masks::MaskerOf;
use crate::{EventsError, LogStore, Masker, NewLine, blocking};
use hythe_model::ToolName;
use segments::Segments;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The open logs of tools; `None` where a tool was removed since this program started.
pub(crate) type ToolLogs = HashMap<ToolName, Option<Arc<ToolLog>>>;

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

    /// The ends that are remembered, where others may be forgotten.
    pub(crate) fn remembered_ends(&self) -> Vec<SourceAt> {
        self.state().segments.remembered_ends()
    }

    /// Appends lines, which are [shown] by now, and, with them, how far an instance's log was read: all or nothing. Answers the last position.
    pub(crate) fn append(
        &self,
        lines: &[NewLine],
        source: Option<(&str, SourceAt)>,
    ) -> Result<u64, EventsError> {
        self.append_to(&mut self.state(), lines, source)
    }

    /// Appends lines of an instance that go on from what is stored of it; else they are refused.
    fn append_read(&self, lines: &[NewLine], read: &Read) -> Result<(), EventsError> {
        let (mut state, instance) = (self.state(), &read.source.instance);
        if state.removed || state.segments.source(instance) != read.from {
            read.source.refuse();
            return Ok(());
        }
        self.append_to(&mut state, lines, Some((instance, read.to))).map(drop)
    }

    fn append_to(
        &self,
        state: &mut State,
        lines: &[NewLine],
        source: Option<(&str, SourceAt)>,
    ) -> Result<u64, EventsError> {
        let State { segments, removed } = state;
        if *removed {
            return Ok(0);
        }
        segments.append(lines, source)?;
        self.reached.send_replace(segments.reached());
        Ok(segments.last())
    }
}

/// Lines as they are stored: clean, masked and cut.
pub(crate) fn shown(lines: &[NewLine], masker: &Masker, line_bytes: usize) -> Vec<NewLine> {
    let mut shown = Vec::with_capacity(lines.len());
    for line in lines {
        let text = clean(&line.text);
        let text = masker.mask(&text);
        for piece in pieces(&text, line_bytes) {
            shown.push(NewLine { text: piece.to_owned(), instance: line.instance.clone(), ..*line });
        }
    }
    shown
}

impl LogStore {
    /// Asks this for what is to be masked of a tool when its lines come. Before that is said nothing is.
    pub fn mask_by(&self, masker_of: MaskerOf) {
        self.inner.masks.ask(masker_of);
    }

    /// Asks anew for what is to be masked of a tool: its config, or what of it serves, has changed.
    pub fn mask_anew(&self, tool: &ToolName) {
        self.inner.masks.forget(tool);
    }

    /// Begins the log of a tool that has none: call it before anything of the tool runs.
    pub fn begin_tool(&self, tool: &ToolName) {
        if self.inner.shared.is_some() {
            return;
        }
        self.begin_again(tool);
        if let Err(error) = self.tool_log(tool) {
            tracing::error!(%tool, %error, "a tool's log could not be opened");
        }
    }

    /// Forgets that a tool was removed.
    fn begin_again(&self, tool: &ToolName) {
        let mut tools = self.tools();
        if tools.get(tool).is_some_and(Option::is_none) {
            tools.remove(tool);
        }
    }

    /// Appends lines to files; the position of the last, and 0 where the log was removed, which takes nothing.
    pub(crate) fn append_own(
        &self,
        tool: &ToolName,
        lines: &[NewLine],
        masker: &Masker,
    ) -> Result<u64, EventsError> {
        let Some(log) = self.tool_log(tool)? else { return Ok(0) };
        log.append(&self.shown(lines, masker), None)
    }

    /// Appends lines that were read of an instance to files.
    pub(crate) fn append_read(
        &self,
        tool: &ToolName,
        lines: &[NewLine],
        read: &Read,
        masker: &Masker,
    ) -> Result<(), EventsError> {
        if let Some(log) = self.begun_log(tool)? {
            return log.append_read(&self.shown(lines, masker), read);
        }
        read.source.refuse();
        Ok(())
    }

    pub(crate) fn shown(&self, lines: &[NewLine], masker: &Masker) -> Vec<NewLine> {
        shown(lines, masker, self.inner.limits.line_bytes)
    }

    /// Removes everything of a tool; its readers come to an end, and nothing is followed into it any more. What still
    /// comes for it is left out until [`LogStore::begin_tool`] begins a log for a tool of the same name.
    pub async fn remove_tool(&self, tool: &ToolName) -> Result<(), EventsError> {
        if let Some(shared) = &self.inner.shared {
            return shared.tools.remove(tool).await;
        }
        self.inner.masks.forget(tool);
        self.unfollow_tool(tool);
        if let Some(log) = self.tools().insert(tool.clone(), None).flatten() {
            log.state().removed = true;
            log.reached.send_modify(|reached| reached.removed = true);
        }
        let dir = self.tool_dir(tool);
        blocking(&self.tool_dir(tool), move || match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(EventsError::write(&dir, &error))
            }
            _ => Ok(()),
        })
        .await
    }

    /// Tidies what several servers share of tools' logs, and removes what was left over; how many objects went.
    pub async fn prune_tools(&self) -> Result<usize, EventsError> {
        match &self.inner.shared {
            Some(shared) => shared.tools.prune().await,
            None => Ok(0),
        }
    }

    /// The folder of a tool's runtime log.
    pub(crate) fn tool_dir(&self, tool: &ToolName) -> PathBuf {
        self.inner.dir.join("tools").join(tool.as_str())
    }

    /// The log of a tool, made where there is none; `None` where it was removed.
    pub(crate) fn tool_log(&self, tool: &ToolName) -> Result<Option<Arc<ToolLog>>, EventsError> {
        let mut tools = self.tools();
        if let Some(log) = tools.get(tool) {
            return Ok(log.clone());
        }
        let dir = self.tool_dir(tool);
        let segments = Segments::open(&dir, &self.inner.syncer, self.inner.limits.tool_bytes)?;
        let reached = watch::Sender::new(segments.reached());
        let state = Mutex::new(State { segments, removed: false });
        let log = Arc::new(ToolLog { dir, state, reached });
        tools.insert(tool.clone(), Some(Arc::clone(&log)));
        Ok(Some(log))
    }

    /// As [`LogStore::tool_log`], and `None` where there is none yet.
    pub(crate) fn begun_log(&self, tool: &ToolName) -> Result<Option<Arc<ToolLog>>, EventsError> {
        if self.tools().contains_key(tool) || self.tool_dir(tool).exists() {
            self.tool_log(tool)
        } else {
            Ok(None)
        }
    }

    fn tools(&self) -> MutexGuard<'_, ToolLogs> {
        self.inner.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
