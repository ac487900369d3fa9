//! What an instance prints, brought line by line by whoever reads it where it runs.
//!
//! A line counts as read once it is stored, together with its place: whoever reads the instance next, on whichever server, goes on
//! behind it. Pieces of a long line are put together before they are masked, so that no secret hides in a cut.

use crate::gather::{Part, Read, Source};
use crate::ingest::release_of;
use crate::runtime_log::SourceAt;
use crate::{EventsError, LineSource, LogStore, NewLine};
use hythe_model::ToolName;
use jiff::Timestamp;
use std::sync::Arc;

/// The longest line that is put together, bytes. What is beyond is another line, which goes where its reader does before it is read
/// whole: both have one place.
const LONGEST: usize = 64 << 10;

/// Where a line stands among those of its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinePlace {
    /// When it was printed.
    pub time: Timestamp,
    /// Its number among the lines of that very time.
    pub count: u64,
}

impl LinePlace {
    fn mark(self) -> SourceAt {
        SourceAt::Line(i64::try_from(self.time.as_nanosecond()).unwrap_or_default(), self.count)
    }

    fn of(mark: SourceAt) -> Option<Self> {
        let SourceAt::Line(nanos, count) = mark else { return None };
        Some(Self { time: Timestamp::from_nanosecond(nanos.into()).ok()?, count })
    }
}

/// Takes the lines of one instance.
pub struct InstanceLines {
    logs: LogStore,
    tool: ToolName,
    source: Arc<Source>,
    /// The last line that is on its way.
    at: SourceAt,
    /// A line whose end has not come.
    open: Option<(LinePlace, Vec<u8>)>,
}

impl InstanceLines {
    /// The last line that was taken: what comes next is behind it, or all of it where there is none. What was taken of a line
    /// without its end is forgotten.
    pub fn last(&mut self) -> Option<LinePlace> {
        self.open = None;
        LinePlace::of(self.at)
    }

    /// Takes a piece of the line at this place, its last one where it is `whole` then; waits while too much is on its way. `false`
    /// where it is not taken: somebody else has read on, or the tool is gone. Ask again then where to read.
    pub async fn take(&mut self, place: LinePlace, text: &[u8], whole: bool) -> bool {
        let (_, line) = self.open.get_or_insert_with(|| (place, Vec::new()));
        line.extend_from_slice(text);
        if whole || line.len() >= LONGEST {
            self.flush().await;
        }
        !self.source.is_refused()
    }

    /// Waits until all that was taken is stored; `false` where it is not. Nothing more comes of a last line without an end.
    pub async fn finish(&mut self) -> bool {
        self.flush().await;
        self.logs.inner.gathered.settled().await;
        !self.source.is_refused()
    }

    async fn flush(&mut self) {
        let Some((place, bytes)) = self.open.take() else { return };
        let line = NewLine {
            at: place.time,
            instance: self.source.instance.clone(),
            source: LineSource::Out,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        };
        let (from, to) = (self.at, place.mark());
        let read = Read { source: self.source.clone(), from, to, ended: None };
        self.logs.inner.gathered.offer(&self.tool, Part { lines: vec![line], read: Some(read) }).await;
        self.at = to;
    }
}

impl LogStore {
    /// Begins to read an instance, from where the last one who read it has come, on whichever server. `None` where nothing of it is
    /// wanted: it has been read to its end, or its tool is gone.
    ///
    /// That it was read to its end is remembered of the last ones. Of one that is not known, and has `ended` before all of which it is,
    /// it was forgotten, where as many are remembered as ever are.
    pub async fn read_instance(
        &self,
        tool: &ToolName,
        instance: &str,
        ended: Option<Timestamp>,
    ) -> Result<Option<InstanceLines>, EventsError> {
        let release = release_of(instance)?;
        let at = self.source_at(tool, instance).await?;
        let Some(at) = at.filter(|at| !matches!(at, SourceAt::Ended(_))) else { return Ok(None) };
        if let (SourceAt::Start, Some(ended)) = (at, ended)
            && self.may_have_forgotten(tool, ended).await?
        {
            return Ok(None);
        }
        let (logs, tool, source) = (self.clone(), tool.clone(), Source::new(instance, release));
        Ok(Some(InstanceLines { logs, tool, source, at, open: None }))
    }

    /// Whether an instance that is not known, and ended at this time, may have been known.
    async fn may_have_forgotten(&self, tool: &ToolName, ended: Timestamp) -> Result<bool, EventsError> {
        let remembered = match &self.inner.shared {
            Some(shared) => shared.tools.remembered_ends(tool).await?,
            None => self.begun_log(tool)?.map_or(Vec::new(), |log| log.remembered_ends()),
        };
        let ended = SourceAt::ended(ended);
        Ok(!remembered.is_empty() && remembered.iter().all(|end| ended.is_before(*end)))
    }

    /// How far an instance was read; `None` where the tool has no log.
    async fn source_at(&self, tool: &ToolName, instance: &str) -> Result<Option<SourceAt>, EventsError> {
        match &self.inner.shared {
            Some(shared) => shared.tools.source(tool, instance).await,
            None => Ok(self.begun_log(tool)?.map(|log| log.source(instance))),
        }
    }
}
