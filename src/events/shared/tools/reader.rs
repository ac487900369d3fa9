//! Readers of a shared runtime log: its segments, its pieces, then what comes, whoever writes it.

use super::super::followed::Reach;
use super::{SharedTools, failed_read};
use crate::query::SETTLES;
use crate::runtime_log::read_line_at;
use crate::{EventsError, LogLine, LogQuery};
use futures::stream::{self, BoxStream, StreamExt};
use hythe_model::ToolName;
use hythe_store::{LogPiece, LogSegment, ToolLogPart};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often a log is looked for that has not begun.
const LOOK: Duration = Duration::from_secs(1);
/// How often a segment is looked for whose object goes while it is read.
const TRIES: u32 = 10;

struct Reader {
    tools: Arc<SharedTools>,
    tool: ToolName,
    query: LogQuery,
    /// The log that is read, once there is one.
    log: Option<String>,
    /// The last line that was read, or is not wanted.
    after: u64,
    begun: bool,
    ready: VecDeque<LogLine>,
    followed: Option<watch::Receiver<Reach>>,
}

/// What reading on brought.
enum Step {
    Lines(Vec<LogLine>),
    /// Everything that is stored has been read.
    Stored,
    Gone,
}

pub(super) fn read(
    tools: Arc<SharedTools>,
    tool: ToolName,
    query: LogQuery,
) -> BoxStream<'static, Result<LogLine, EventsError>> {
    let after = query.from.unwrap_or_default().saturating_sub(1);
    let ready = VecDeque::new();
    let reader = Reader { tools, tool, query, log: None, after, begun: false, ready, followed: None };
    let next = |mut reader: Reader| async move { Ok(reader.next().await?.map(|line| (line, reader))) };
    stream::try_unfold(reader, next).boxed()
}

impl Reader {
    async fn next(&mut self) -> Result<Option<LogLine>, EventsError> {
        if !std::mem::replace(&mut self.begun, true) {
            // Who asks after a request sees it.
            let _ = tokio::time::timeout(SETTLES, self.tools.gathered.settled()).await;
            self.last_stored().await?;
        }
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            match self.step().await? {
                Step::Lines(lines) => self.ready.extend(lines),
                Step::Stored if self.query.follow => self.wait().await,
                Step::Stored | Step::Gone => return Ok(None),
            }
        }
    }

    /// Passes by what is stored but for the last lines of it, where the query asks for so many.
    async fn last_stored(&mut self) -> Result<(), EventsError> {
        let Some(count) = self.query.tail else { return Ok(()) };
        if self.query.wants_all() {
            let last = self.part(u64::MAX).await?.map_or(0, |part| part.last);
            self.after = self.after.max(last.saturating_sub(count as u64));
            return Ok(());
        }
        while let Step::Lines(lines) = self.step().await? {
            self.ready.extend(lines);
            let surplus = self.ready.len().saturating_sub(count);
            self.ready.drain(..surplus);
        }
        Ok(())
    }

    async fn part(&self, after: u64) -> Result<Option<ToolLogPart>, EventsError> {
        let part = self.tools.place.store.tool_log(&self.tool, after).await;
        part.map_err(|error| failed_read(self.tool.as_str(), &error))
    }

    async fn step(&mut self) -> Result<Step, EventsError> {
        let mut tries = 0;
        loop {
            let Some(part) = self.part(self.after).await? else {
                return Ok(if self.log.is_some() { Step::Gone } else { Step::Stored });
            };
            if self.log.get_or_insert_with(|| part.log.clone()) != &part.log {
                return Ok(Step::Gone);
            }
            let lines = match part.segment {
                None => of_pieces(&part.pieces, self.after),
                Some(segment) => match self.tools.segment(&segment).await? {
                    Some(text) => of_segment(&segment, &text, self.after),
                    // The oldest go while they are read: what is left begins with another one.
                    None if tries < TRIES => {
                        tries += 1;
                        continue;
                    }
                    None => {
                        let what = format!("the object of its lines from {} on is missing", segment.first);
                        return Err(failed_read(self.tool.as_str(), &what));
                    }
                },
            };
            let lines: Vec<LogLine> = lines.map_err(|error| failed_read(self.tool.as_str(), &error))?;
            let Some(last) = lines.last() else {
                // Whatever was there has been let go.
                self.after = self.after.max(part.last);
                return Ok(Step::Stored);
            };
            self.after = last.position;
            return Ok(Step::Lines(lines.into_iter().filter(|line| self.query.wants(line)).collect()));
        }
    }

    /// Waits until there is more, or the log is gone.
    async fn wait(&mut self) {
        let (Some(log), after) = (&self.log, self.after) else { return tokio::time::sleep(LOOK).await };
        let followed = self.followed.get_or_insert_with(|| self.tools.followed.follow(log));
        let _ = followed.wait_for(|reach| reach.is_none_or(|reach| reach.last > after)).await;
    }
}

type Read = Result<Vec<LogLine>, serde_json::Error>;

/// The lines of pieces behind a line.
pub(super) fn of_pieces(pieces: &[LogPiece], after: u64) -> Read {
    let numbered = pieces.iter().flat_map(|piece| (piece.first..).zip(&piece.lines));
    numbered.filter(|(at, _)| *at > after).map(|(at, line)| read_line_at(at, line)).collect()
}

/// The lines of a segment behind a line.
pub(super) fn of_segment(segment: &LogSegment, text: &str, after: u64) -> Read {
    let numbered = (segment.first..).zip(text.lines());
    numbered.filter(|(at, _)| *at > after).map(|(at, line)| read_line_at(at, line)).collect()
}
