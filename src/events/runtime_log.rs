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
use crate::shared::MaskerOf;
use crate::{EventsError, LineSource, LogStore, Masker, NewLine, blocking};
use hythe_model::ToolName;
use jiff::Timestamp;
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
        self.append_to(&mut self.state(), lines, source, line_bytes)
    }

    /// Appends lines of an instance that go on from what is stored of it; else they are refused.
    fn append_read(&self, lines: &[NewLine], read: &Read, line_bytes: usize) -> Result<(), EventsError> {
        let (mut state, instance) = (self.state(), &read.source.instance);
        if state.removed || state.segments.source(instance) != read.from {
            read.source.refuse();
            return Ok(());
        }
        self.append_to(&mut state, lines, Some((instance, read.to)), line_bytes).map(drop)
    }

    fn append_to(
        &self,
        state: &mut State,
        lines: &[NewLine],
        source: Option<(&str, SourceAt)>,
        line_bytes: usize,
    ) -> Result<u64, EventsError> {
        let State { segments, masker, removed } = state;
        if *removed {
            return Ok(0);
        }
        segments.append(&shown(lines, masker, line_bytes), source)?;
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
    /// Masks these values in every line of this tool from now on, and begins its log where it has none: call it before
    /// anything of the tool runs.
    pub fn mask_tool(&self, tool: &ToolName, masker: Masker) {
        if let Some(shared) = &self.inner.shared {
            return shared.tools.mask(tool, masker);
        }
        self.begin_again(tool);
        match self.tool_log(tool) {
            Ok(Some(log)) => log.state().masker = masker,
            Ok(None) => {}
            Err(error) => tracing::error!(%tool, %error, "a tool's log could not be opened"),
        }
    }

    /// Asks this for what is to be masked of a tool that other servers roll out too, whenever that may have changed. Where logs are
    /// not shared it is said by [`LogStore::mask_tool`] alone.
    pub fn mask_by(&self, masker_of: MaskerOf) {
        if let Some(shared) = &self.inner.shared {
            shared.tools.mask_by(masker_of);
        }
    }

    /// Forgets that a tool was removed.
    fn begin_again(&self, tool: &ToolName) {
        let mut tools = self.tools();
        if tools.get(tool).is_some_and(Option::is_none) {
            tools.remove(tool);
        }
    }

    /// Appends a line of the platform or of the router to a tool's log, and answers its position; 0 where the log was
    /// removed, which takes nothing, and where a shared log gives it later. As quick as [`LogStore::append`].
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

    /// As [`LogStore::append_line`], several lines in one write; answers the position of the last.
    pub fn append_lines(&self, tool: &ToolName, lines: &[NewLine]) -> Result<u64, EventsError> {
        if self.inner.shared.is_some() {
            for line in lines {
                self.inner.gathered.push(tool, line.clone());
            }
            return Ok(0);
        }
        self.append_own(tool, lines)
    }

    /// Appends lines to files.
    pub(crate) fn append_own(&self, tool: &ToolName, lines: &[NewLine]) -> Result<u64, EventsError> {
        let Some(log) = self.tool_log(tool)? else { return Ok(0) };
        log.append(lines, None, self.inner.limits.line_bytes)
    }

    /// Appends lines that were read of an instance to files.
    pub(crate) fn append_read(
        &self,
        tool: &ToolName,
        lines: &[NewLine],
        read: &Read,
    ) -> Result<(), EventsError> {
        if let Some(log) = self.begun_log(tool)? {
            return log.append_read(lines, read, self.inner.limits.line_bytes);
        }
        read.source.refuse();
        Ok(())
    }

    /// Removes everything of a tool; its readers come to an end, and nothing is followed into it any more. What still
    /// comes for it is left out until [`LogStore::mask_tool`] begins a log for a tool of the same name.
    pub async fn remove_tool(&self, tool: &ToolName) -> Result<(), EventsError> {
        if let Some(shared) = &self.inner.shared {
            return shared.tools.remove(tool).await;
        }
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
        let state = Mutex::new(State { segments, masker: Masker::default(), removed: false });
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
