//! Reading a tool's runtime log.

use crate::runtime_log::{Reached, ToolLog, read_line, segment_path};
use crate::tail::Lines;
use crate::{EventsError, LineSource, LogLine, LogStore, blocking};
use futures::stream::{self, BoxStream, StreamExt};
use hythe_model::ToolName;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a reader waits for the lines that are on their way.
pub(crate) const SETTLES: Duration = Duration::from_secs(1);

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
    /// Of instances whose name is this or begins with it and a full stop, as in `v14.web` or `router`.
    pub instance: Option<String>,
    /// Of these sources; of all where empty.
    pub sources: Vec<LineSource>,
}

impl LogQuery {
    /// Whether every line behind its beginning is wanted.
    pub(crate) fn wants_all(&self) -> bool {
        self.since.is_none() && self.instance.is_none() && self.sources.is_empty()
    }

    pub(crate) fn wants(&self, line: &LogLine) -> bool {
        let under = |name: &String| {
            let rest = line.instance.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.from.is_none_or(|from| line.position >= from)
            && self.since.is_none_or(|since| line.at >= since)
            && self.instance.as_ref().is_none_or(under)
            && (self.sources.is_empty() || self.sources.contains(&line.source))
    }
}

/// A reader of one tool's log: a segment after the other.
struct Reader {
    store: LogStore,
    tool: ToolName,
    query: LogQuery,
    open: Option<Open>,
    ready: VecDeque<LogLine>,
}

struct Open {
    log: Arc<ToolLog>,
    reached: watch::Receiver<Reached>,
    segment: u64,
    lines: Lines,
}

/// What reading on brought.
enum Step {
    Lines(Vec<LogLine>),
    /// Everything that is stored has been read.
    Stored,
    Gone,
}

impl Open {
    /// Where reading begins; `None` where the log was removed.
    async fn new(store: LogStore, tool: ToolName, from: u64) -> Result<Option<Self>, EventsError> {
        let dir = store.tool_dir(&tool);
        // Who asks after a request sees it.
        let _ = tokio::time::timeout(SETTLES, store.inner.gathered.settled()).await;
        let Some(log) = blocking(&dir, move || store.tool_log(&tool)).await? else { return Ok(None) };
        let reached = log.reached.subscribe();
        let (segment, lines) = open_segment(&log, |segments| {
            let before = segments.iter().rev().find(|first| **first <= from);
            before.or(segments.first()).copied()
        })?;
        Ok(Some(Self { log, reached, segment, lines }))
    }

    async fn step(&mut self) -> Result<Step, EventsError> {
        let reached = *self.reached.borrow_and_update();
        if reached.removed {
            return Ok(Step::Gone);
        }
        let current = reached.segment == self.segment;
        let end = if current { reached.bytes } else { self.lines.length()? };
        let lines = self.lines.next(end, read_line).await?;
        if !lines.is_empty() {
            return Ok(Step::Lines(lines.into_iter().flatten().collect()));
        }
        if current {
            return Ok(Step::Stored);
        }
        let after = self.segment;
        let next = |segments: &[u64]| segments.iter().find(|first| **first > after).copied();
        (self.segment, self.lines) = open_segment(&self.log, next)?;
        Ok(Step::Lines(Vec::new()))
    }
}

/// Opens the segment that is chosen of those that there are; chooses again where it went meanwhile.
fn open_segment(log: &ToolLog, choose: impl Fn(&[u64]) -> Option<u64>) -> Result<(u64, Lines), EventsError> {
    let mut tries = 0;
    loop {
        let segments = log.segments();
        let first = choose(&segments).or(segments.last().copied()).unwrap_or(1);
        match Lines::open(&segment_path(&log.dir, first)) {
            Ok(lines) => return Ok((first, lines)),
            Err(error) if tries == 10 => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

impl Reader {
    async fn next(&mut self) -> Result<Option<LogLine>, EventsError> {
        if self.open.is_none() {
            let from = self.query.from.unwrap_or_default();
            self.open = Open::new(self.store.clone(), self.tool.clone(), from).await?;
            self.last_stored().await?;
        }
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            match open.step().await? {
                Step::Lines(lines) => {
                    let query = &self.query;
                    self.ready.extend(lines.into_iter().filter(|line| query.wants(line)));
                }
                Step::Stored if self.query.follow && open.reached.changed().await.is_ok() => {}
                Step::Stored | Step::Gone => return Ok(None),
            }
        }
    }

    /// Reads what is stored and keeps the last lines of it, where the query asks for so many.
    async fn last_stored(&mut self) -> Result<(), EventsError> {
        let (Some(count), Some(open)) = (self.query.tail, &mut self.open) else { return Ok(()) };
        while let Step::Lines(lines) = open.step().await? {
            for line in lines.into_iter().filter(|line| self.query.wants(line)) {
                self.ready.push_back(line);
                if self.ready.len() > count {
                    self.ready.pop_front();
                }
            }
        }
        Ok(())
    }
}

impl LogStore {
    /// Reads a tool's runtime log. Lines that were let go before they were read are missing: their positions are.
    pub fn lines(
        &self,
        tool: &ToolName,
        query: LogQuery,
    ) -> BoxStream<'static, Result<LogLine, EventsError>> {
        if let Some(shared) = &self.inner.shared {
            return shared.tools.read(tool, query);
        }
        let (store, tool) = (self.clone(), tool.clone());
        let reader = Reader { store, tool, query, open: None, ready: VecDeque::new() };
        let next = |mut reader: Reader| async move { Ok(reader.next().await?.map(|line| (line, reader))) };
        stream::try_unfold(reader, next).boxed()
    }
}
