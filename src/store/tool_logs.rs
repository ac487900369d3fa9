//! What tools print, where several servers share it: numbered lines in pieces, and segments of them that are objects.
//!
//! Enter at [`Store::append_tool_logs`]. A log is a row of `logs` and begins with its first lines; it goes with its tool. What is in
//! a line, and how far a source was read, is their writer's to know.

mod segments;
mod write;

pub use segments::LogSegment;
pub use write::{LogBatch, LogLines, OpenLog, SourceMove, ToolLines, WrittenLog};

use crate::codec::narrow;
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::logs::{LogPiece, pieces, signed};
use crate::schema::{log_pieces, log_segments, log_sources, logs, tools};
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::ToolName;
use std::collections::HashMap;

/// Ended sources of a log whose ends are told, and that are remembered: a late reader does not begin them again.
const TOLD: i64 = 20;
const REMEMBERED: i64 = 64;
/// Sources of a log that may not have ended: more than a tool has at once, as one release takes another's place.
const OPEN: i64 = 3000;
/// Pieces that are read at a time from the end of a log.
const FROM_THE_END: i64 = 32;

/// Some of a tool's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolLogPart {
    /// Name of the log: another one where the tool is another of the same name.
    pub log: String,
    /// Number of its last line.
    pub last: u64,
    /// Where the next lines are an object: which.
    pub segment: Option<LogSegment>,
    /// Else pieces, the next ones first.
    pub pieces: Vec<LogPiece>,
}

/// How far a source of lines was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogSource {
    /// Its reader's mark; `None` where nothing was read.
    pub read_to: Option<String>,
    /// Whether it has ended, and with what is told of it: nothing where it ended long ago.
    pub told: Option<String>,
}

/// How far a log has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogReach {
    /// Number of its last line.
    pub last: u64,
    /// Whether nothing more comes.
    pub ended: bool,
}

/// Name and last line of a tool's log.
fn log_of(connection: &mut AnyConnection, tool: &ToolName) -> Outcome<Option<(String, i64)>> {
    let mine = logs::table.inner_join(tools::table).filter(tools::name.eq(tool.as_str()));
    Ok(mine.select((logs::name, logs::last)).first(connection).optional()?)
}

fn segment(row: (String, i64, i64, i64)) -> Result<LogSegment, StoreError> {
    let (log, first, last, bytes) = row;
    Ok(LogSegment {
        log,
        first: narrow("log_segments.first", first)?,
        last: narrow("log_segments.last", last)?,
        bytes: narrow("log_segments.bytes", bytes)?,
    })
}

impl Store {
    /// What comes behind a line of a tool's log: a segment or pieces of it, neither where that line is the last one. `None` where
    /// the tool has no log.
    pub async fn tool_log(&self, tool: &ToolName, after: u64) -> Result<Option<ToolLogPart>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let Some((log, last)) = log_of(reader, &tool)? else { return Ok(None) };
            let mut part =
                ToolLogPart { last: narrow("logs.last", last)?, log, segment: None, pieces: Vec::new() };
            if after >= part.last {
                return Ok(Some(part));
            }
            let mine = log_segments::table.filter(log_segments::log.eq(&part.log));
            let next = mine.filter(log_segments::last.gt(signed(after))).order(log_segments::first);
            let row = next.first::<(String, i64, i64, i64)>(reader).optional()?;
            part.segment = row.map(segment).transpose()?;
            if part.segment.is_none() {
                part.pieces = pieces(reader, &part.log, after)?;
            }
            Ok(Some(part))
        };
        self.db.read("read a tool's log", work).await
    }

    /// Pieces of a log that begin before a line, the last ones, newest first.
    pub async fn log_pieces_before(&self, log: &str, before: u64) -> Result<Vec<LogPiece>, StoreError> {
        let log = log.to_owned();
        let work = move |reader: &mut AnyConnection| {
            let mine = log_pieces::table.filter(log_pieces::log.eq(&log));
            let earlier = mine.filter(log_pieces::first.lt(signed(before))).order(log_pieces::first.desc());
            let earlier = earlier.limit(FROM_THE_END).select((log_pieces::first, log_pieces::lines));
            let rows = earlier.load::<(i64, String)>(reader)?;
            Ok(rows.into_iter().map(LogPiece::read).collect::<Result<_, _>>()?)
        };
        self.db.read("read the end of a log", work).await
    }

    /// The last segment of a log.
    pub async fn last_segment(&self, log: &str) -> Result<Option<LogSegment>, StoreError> {
        let log = log.to_owned();
        let work = move |reader: &mut AnyConnection| {
            let mine = log_segments::table.filter(log_segments::log.eq(&log));
            let last = mine.order(log_segments::first.desc()).first::<(String, i64, i64, i64)>(reader);
            Ok(last.optional()?.map(segment).transpose()?)
        };
        self.db.read("look for a log's last segment", work).await
    }

    /// How far these logs have come, those that there are.
    pub async fn logs_reached(&self, names: Vec<String>) -> Result<HashMap<String, LogReach>, StoreError> {
        let work = move |reader: &mut AnyConnection| {
            let mine = logs::table.filter(logs::name.eq_any(&names));
            let rows = mine.select((logs::name, logs::last, logs::ended));
            let rows = rows.load::<(String, i64, bool)>(reader)?;
            let read = |(name, last, ended)| Ok((name, LogReach { last: narrow("logs.last", last)?, ended }));
            Ok(rows.into_iter().map(read).collect::<Result<_, StoreError>>()?)
        };
        self.db.read("look at logs", work).await
    }

    /// How far a source of a tool's log was read; `None` where there is no such tool.
    pub async fn log_source(&self, tool: &ToolName, source: &str) -> Result<Option<LogSource>, StoreError> {
        let (tool, source) = (tool.clone(), source.to_owned());
        let work = move |reader: &mut AnyConnection| {
            let known = tools::table.filter(tools::name.eq(tool.as_str())).select(tools::id);
            if known.first::<i64>(reader).optional()?.is_none() {
                return Ok(None);
            }
            let Some((log, _)) = log_of(reader, &tool)? else { return Ok(Some(LogSource::default())) };
            let row =
                log_sources::table.find((log, &source)).select((log_sources::read_to, log_sources::told));
            let row = row.first::<(String, Option<String>)>(reader).optional()?;
            let read = |(read_to, told)| LogSource { read_to: Some(read_to), told };
            Ok(Some(row.map(read).unwrap_or_default()))
        };
        self.db.read("look at a source of a log", work).await
    }

    /// The marks of the ended sources of a tool's log that are remembered, where earlier ones may be forgotten; none where none is.
    pub async fn remembered_log_ends(&self, tool: &ToolName) -> Result<Vec<String>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let Some((log, _)) = log_of(reader, &tool)? else { return Ok(Vec::new()) };
            let mine = log_sources::table.filter(log_sources::log.eq(log));
            let ended = mine.filter(log_sources::told.is_not_null()).select(log_sources::read_to);
            let marks = ended.load::<String>(reader)?;
            Ok(if signed(marks.len() as u64) < REMEMBERED { Vec::new() } else { marks })
        };
        self.db.read("look at ended sources of a log", work).await
    }

    /// What is told of the sources of a tool's log that ended last, newest first.
    pub async fn ended_log_sources(&self, tool: &ToolName) -> Result<Vec<String>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let Some((log, _)) = log_of(reader, &tool)? else { return Ok(Vec::new()) };
            let mine = log_sources::table.filter(log_sources::log.eq(log)).filter(log_sources::told.ne(""));
            let newest = mine.order(log_sources::position.desc()).limit(TOLD);
            let rows = newest.select(log_sources::told).load::<Option<String>>(reader)?;
            Ok(rows.into_iter().flatten().collect())
        };
        self.db.read("list ended sources of a log", work).await
    }
}
