//! Instances that have ended: their last lines, and what is kept of them.

use super::reader::{of_pieces, of_segment};
use super::{SharedTools, failed_read, failed_write, mark};
use crate::gather::{Part, Read, Source};
use crate::ingest::LAST_LINES;
use crate::runtime_log::SourceAt;
use crate::{EndedInstance, EventsError, LineSource, LogLine};
use hythe_model::{ReleaseNumber, ToolName};
use std::collections::VecDeque;

impl SharedTools {
    /// Writes the end of an instance that has been read to its end, once.
    pub(crate) async fn end(
        &self,
        tool: &ToolName,
        release: ReleaseNumber,
        mut ended: EndedInstance,
    ) -> Result<EndedInstance, EventsError> {
        // What was read of it comes before its end.
        self.gathered.settled().await;
        let found = self.place.store.log_source(tool, &ended.instance).await;
        let Some(found) = found.map_err(|error| failed_read(tool.as_str(), &error))? else {
            return Ok(ended);
        };
        if let Some(told) = found.told {
            return Ok(serde_json::from_str(&told).unwrap_or(ended));
        }
        ended.lines = self.last_lines(tool, &ended.instance, LAST_LINES).await?;
        let source = Source::new(&ended.instance, release);
        let read = Read {
            source: source.clone(),
            from: mark(tool, found.read_to.as_deref())?,
            to: SourceAt::ended(ended.at),
            ended: Some(ended.clone()),
        };
        self.gathered.offer(tool, Part { lines: vec![ended.last_line()], read: Some(read) }).await;
        self.gathered.settled().await;
        if source.is_refused() {
            return Err(failed_write(tool.as_str(), &"another server reads it"));
        }
        Ok(ended)
    }

    /// The ends that are remembered of a tool's instances, where others may be forgotten.
    pub(crate) async fn remembered_ends(&self, tool: &ToolName) -> Result<Vec<SourceAt>, EventsError> {
        let marks = self.place.store.remembered_log_ends(tool).await;
        let marks = marks.map_err(|error| failed_read(tool.as_str(), &error))?;
        marks.iter().map(|read_to| mark(tool, Some(read_to))).collect()
    }

    /// The instances of a tool that ended last, newest first.
    pub(crate) async fn ended(&self, tool: &ToolName) -> Result<Vec<EndedInstance>, EventsError> {
        let failed = |error: &dyn std::fmt::Display| failed_read(tool.as_str(), error);
        let told = self.place.store.ended_log_sources(tool).await.map_err(|error| failed(&error))?;
        told.iter().map(|told| serde_json::from_str(told).map_err(|error| failed(&error))).collect()
    }

    /// An instance's last lines so far, of those that are in pieces or in the last segment.
    pub(crate) async fn last_lines(
        &self,
        tool: &ToolName,
        instance: &str,
        count: usize,
    ) -> Result<Vec<LogLine>, EventsError> {
        let failed = |error: &dyn std::fmt::Display| failed_read(tool.as_str(), error);
        let store = &self.place.store;
        let mut last = VecDeque::with_capacity(count);
        let mut take = |lines: Vec<LogLine>| {
            let printed = |line: &LogLine| matches!(line.source, LineSource::Out | LineSource::Err);
            let its = lines.into_iter().rev().filter(|line| line.instance == instance && printed(line));
            for line in its.take(count - last.len()) {
                last.push_front(line);
            }
            last.len() == count
        };
        let Some(part) = store.tool_log(tool, u64::MAX).await.map_err(|error| failed(&error))? else {
            return Ok(Vec::new());
        };
        let mut before = part.last + 1;
        let is_full = loop {
            let mut pieces =
                store.log_pieces_before(&part.log, before).await.map_err(|error| failed(&error))?;
            pieces.reverse();
            let Some(first) = pieces.first().map(|piece| piece.first) else { break false };
            before = first;
            if take(of_pieces(&pieces, 0).map_err(|error| failed(&error))?) {
                break true;
            }
        };
        let segment = store.last_segment(&part.log).await.map_err(|error| failed(&error))?;
        if let Some(segment) = segment.filter(|segment| !is_full && segment.last < before)
            && let Some(text) = self.segment(&segment).await?
        {
            take(of_segment(&segment, &text, 0).map_err(|error| failed(&error))?);
        }
        Ok(last.into())
    }
}
