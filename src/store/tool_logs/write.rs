//! Batches of lines of many tools, written one at a time.
//!
//! A source's lines count only where they go on from what is stored of it: so neither a server that has been overtaken nor a
//! batch that is sent again writes anything twice. Each writer numbers its batches for the lines that have no source.

use super::{OPEN, REMEMBERED, TOLD};
use crate::codec::{narrow, now};
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::dialect::only_log_writer;
use crate::logs::signed;
use crate::schema::{log_pieces, log_sources, log_writers, logs, tools};
use crate::{Store, StoreError};
use diesel::prelude::*;
use diesel::upsert::excluded;
use hythe_model::ToolName;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows that a server is sent at a time.
const ROWS: usize = 500;
/// Bytes of one piece's lines, about.
const PIECE: usize = 256 << 10;

/// Lines of many tools that are written together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// Whose batch it is: one name for each process.
    pub writer: String,
    /// Rises by one a batch, and stays where a batch is sent again.
    pub number: u64,
    /// The lines.
    pub tools: Vec<ToolLines>,
}

/// Lines of one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolLines {
    /// Which.
    pub tool: ToolName,
    /// The lines, in their order.
    pub parts: Vec<LogLines>,
}

/// Lines that are written with how far their source was read, if they have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLines {
    /// Lines without a line end.
    pub lines: Vec<String>,
    /// Their source.
    pub source: Option<SourceMove>,
}

/// How far a source was read before some lines, and after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceMove {
    /// Its name.
    pub name: String,
    /// What must be stored of it; `None` where that is nothing.
    pub from: Option<String>,
    /// What is stored of it then.
    pub to: String,
    /// Where it has ended: what is told of it.
    pub told: Option<String>,
}

/// What of a log is in pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenLog {
    /// Bytes of their lines.
    pub bytes: u64,
    /// How many there are.
    pub pieces: u64,
}

/// A log that lines were written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenLog {
    /// Whose.
    pub tool: ToolName,
    /// Its name.
    pub log: String,
    /// Number of the tool's newest config.
    pub config: i64,
    /// What was in pieces before.
    pub before: OpenLog,
    /// What is in pieces now.
    pub open: OpenLog,
    /// Sources whose lines were not written: another one has read on meanwhile.
    pub refused: Vec<String>,
}

#[derive(Insertable)]
#[diesel(table_name = logs)]
struct LogRow {
    name: String,
    last: i64,
    bytes: i64,
    ended: bool,
    closed: bool,
    tool_id: Option<i64>,
    pieces: i64,
    written_at: i64,
}

#[derive(Insertable)]
#[diesel(table_name = log_pieces)]
struct PieceRow {
    log: String,
    first: i64,
    lines: String,
}

#[derive(Insertable)]
#[diesel(table_name = log_sources)]
struct SourceRow {
    log: String,
    source: String,
    read_to: String,
    position: i64,
    told: Option<String>,
}

/// Puts rows where either database wants them: many at a time on a server.
macro_rules! put {
    ($connection:expr, $rows:expr, |$some:ident| $insert:expr) => {
        match $connection {
            AnyConnection::Postgres(server) => {
                for $some in $rows.chunks(ROWS) {
                    $insert.execute(server)?;
                }
            }
            AnyConnection::Sqlite(file) => {
                for $some in $rows {
                    $insert.execute(file)?;
                }
            }
        }
    };
}

/// A log as it is, and as the batch makes it.
struct Log {
    name: String,
    tool: i64,
    config: i64,
    last: i64,
    open: OpenLog,
}

/// How far sources were read, by log and name.
type Sources = HashMap<(String, String), String>;

/// The logs of the tools that there are; one that is not there yet is empty.
fn logs_of(writer: &mut AnyConnection, batch: &LogBatch) -> Outcome<HashMap<String, Log>> {
    let names: Vec<&str> = batch.tools.iter().map(|tool| tool.tool.as_str()).collect();
    let known = tools::table.filter(tools::name.eq_any(names));
    let known = known.select((tools::id, tools::name, tools::next_config - 1));
    let known = known.load::<(i64, String, i64)>(writer)?;
    let ids: Vec<Option<i64>> = known.iter().map(|(id, ..)| Some(*id)).collect();
    let columns = (logs::tool_id, logs::last, logs::bytes, logs::pieces);
    let begun = logs::table.filter(logs::tool_id.eq_any(ids)).select(columns);
    let begun = begun.load::<(Option<i64>, i64, i64, i64)>(writer)?;
    let begun: HashMap<_, _> =
        begun.into_iter().map(|(id, last, bytes, pieces)| (id, (last, bytes, pieces))).collect();
    let mut found = HashMap::new();
    for (id, name, config) in known {
        let (last, bytes, pieces) = begun.get(&Some(id)).copied().unwrap_or_default();
        let open = OpenLog { bytes: narrow("logs.bytes", bytes)?, pieces: narrow("logs.pieces", pieces)? };
        found.insert(name, Log { name: format!("tools/{id}"), tool: id, config, last, open });
    }
    Ok(found)
}

fn sources_of(
    writer: &mut AnyConnection,
    batch: &LogBatch,
    known: &HashMap<String, Log>,
) -> Outcome<Sources> {
    let parts = batch.tools.iter().flat_map(|tool| &tool.parts);
    let names: Vec<&str> = parts.filter_map(|part| Some(part.source.as_ref()?.name.as_str())).collect();
    if names.is_empty() {
        return Ok(Sources::new());
    }
    let of: Vec<&str> = known.values().map(|log| log.name.as_str()).collect();
    let mine =
        log_sources::table.filter(log_sources::log.eq_any(of)).filter(log_sources::source.eq_any(names));
    let rows = mine.select((log_sources::log, log_sources::source, log_sources::read_to));
    let rows = rows.load::<(String, String, String)>(writer)?;
    Ok(rows.into_iter().map(|(log, source, read_to)| ((log, source), read_to)).collect())
}

/// What a batch changes.
#[derive(Default)]
struct Change {
    logs: Vec<LogRow>,
    pieces: Vec<PieceRow>,
    /// By log and name: the last of a source's marks is the one that stays.
    sources: HashMap<(String, String), SourceRow>,
}

impl Change {
    /// Takes the lines of one tool, but for those of sources that another one has read on.
    fn take(&mut self, log: &mut Log, lines: &ToolLines, sources: &mut Sources) -> Vec<String> {
        let mut refused = Vec::new();
        let mut taken: Vec<&str> = Vec::new();
        for part in &lines.parts {
            let Some(source) = &part.source else {
                taken.extend(part.lines.iter().map(String::as_str));
                continue;
            };
            let key = (log.name.clone(), source.name.clone());
            if sources.get(&key) != source.from.as_ref() {
                refused.push(source.name.clone());
                continue;
            }
            taken.extend(part.lines.iter().map(String::as_str));
            sources.insert(key.clone(), source.to.clone());
            let row = SourceRow {
                log: log.name.clone(),
                source: source.name.clone(),
                read_to: source.to.clone(),
                position: log.last + signed(taken.len() as u64),
                told: source.told.clone(),
            };
            self.sources.insert(key, row);
        }
        self.write(log, &taken);
        refused
    }

    /// Makes pieces of lines.
    fn write(&mut self, log: &mut Log, lines: &[&str]) {
        let mut rest = lines;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|line| {
                bytes += line.len() + 1;
                bytes <= PIECE
            });
            let (piece, others) = rest.split_at(fits.count().max(1));
            let lines = piece.join("\n");
            log.open.bytes += lines.len() as u64 + 1;
            log.open.pieces += 1;
            self.pieces.push(PieceRow { log: log.name.clone(), first: log.last + 1, lines });
            log.last += signed(piece.len() as u64);
            rest = others;
        }
        self.logs.push(LogRow {
            name: log.name.clone(),
            last: log.last,
            bytes: signed(log.open.bytes),
            ended: false,
            closed: false,
            tool_id: Some(log.tool),
            pieces: signed(log.open.pieces),
            written_at: now(),
        });
    }

    fn put(self, writer: &mut AnyConnection, batch: &LogBatch) -> Outcome<()> {
        put!(writer, &self.logs, |rows| diesel::insert_into(logs::table)
            .values(rows)
            .on_conflict(logs::name)
            .do_update()
            .set((
                logs::last.eq(excluded(logs::last)),
                logs::bytes.eq(excluded(logs::bytes)),
                logs::pieces.eq(excluded(logs::pieces)),
                logs::written_at.eq(excluded(logs::written_at)),
            )));
        put!(writer, &self.pieces, |rows| diesel::insert_into(log_pieces::table).values(rows));
        let sources: Vec<_> = self.sources.into_values().collect();
        put!(writer, &sources, |rows| diesel::insert_into(log_sources::table)
            .values(rows)
            .on_conflict((log_sources::log, log_sources::source))
            .do_update()
            .set((
                log_sources::read_to.eq(excluded(log_sources::read_to)),
                log_sources::position.eq(excluded(log_sources::position)),
                log_sources::told.eq(excluded(log_sources::told)),
            )));
        for ended in sources.iter().filter(|source| source.told.is_some()) {
            forget(writer, &ended.log)?;
        }
        let number = signed(batch.number);
        let change = (log_writers::batch.eq(number), log_writers::written_at.eq(now()));
        if diesel::update(log_writers::table.find(&batch.writer)).set(change).execute(writer)? == 0 {
            let row = (log_writers::writer.eq(&batch.writer), change);
            diesel::insert_into(log_writers::table).values(row).execute(writer)?;
        }
        Ok(())
    }
}

/// Lets go of what ended the longest ago: first of what is told of it, then of it. Also of what has been silent behind so many others
/// that it cannot run any more: its end came while nobody read.
fn forget(writer: &mut AnyConnection, log: &str) -> Outcome<()> {
    let ended = log_sources::table.filter(log_sources::log.eq(log)).filter(log_sources::told.is_not_null());
    let newest = ended.order(log_sources::position.desc()).select(log_sources::position);
    let nth =
        |writer: &mut AnyConnection, count: i64| newest.offset(count - 1).first::<i64>(writer).optional();
    if let Some(last) = nth(writer, TOLD)? {
        let earlier = log_sources::table.filter(log_sources::log.eq(log));
        let earlier = earlier.filter(log_sources::told.ne("")).filter(log_sources::position.lt(last));
        diesel::update(earlier).set(log_sources::told.eq("")).execute(writer)?;
    }
    if let Some(last) = nth(writer, REMEMBERED)? {
        let earlier = log_sources::table.filter(log_sources::log.eq(log));
        let earlier = earlier.filter(log_sources::told.is_not_null()).filter(log_sources::position.lt(last));
        diesel::delete(earlier).execute(writer)?;
    }
    let open = log_sources::table.filter(log_sources::log.eq(log)).filter(log_sources::told.is_null());
    let newest = open.order(log_sources::position.desc()).select(log_sources::position);
    if let Some(last) = newest.offset(OPEN - 1).first::<i64>(writer).optional()? {
        diesel::delete(open.filter(log_sources::position.lt(last))).execute(writer)?;
    }
    Ok(())
}

/// Whether this very batch is written already: the answer to an earlier attempt was lost.
fn is_written(writer: &mut AnyConnection, batch: &LogBatch) -> Outcome<bool> {
    let last = log_writers::table.find(&batch.writer).select(log_writers::batch);
    let last = last.first::<i64>(writer).optional()?;
    Ok(last.is_some_and(|last| last >= signed(batch.number)))
}

/// The sources of a tool that do not stand where the batch has left them.
fn moved_on(log: &Log, lines: &ToolLines, sources: &Sources) -> Vec<String> {
    let last: HashMap<&str, &str> = lines
        .parts
        .iter()
        .filter_map(|part| part.source.as_ref())
        .map(|source| (source.name.as_str(), source.to.as_str()))
        .collect();
    let stands = |name: &str| sources.get(&(log.name.clone(), name.to_owned())).map(String::as_str);
    last.into_iter().filter(|(name, to)| stands(name) != Some(*to)).map(|(name, _)| name.to_owned()).collect()
}

fn write(writer: &mut AnyConnection, batch: &LogBatch) -> Outcome<Vec<WrittenLog>> {
    only_log_writer(writer)?;
    let is_written = is_written(writer, batch)?;
    let mut known = logs_of(writer, batch)?;
    let mut sources = sources_of(writer, batch, &known)?;
    let (mut change, mut written) = (Change::default(), Vec::new());
    for lines in &batch.tools {
        let Some(log) = known.get_mut(lines.tool.as_str()) else { continue };
        let before = log.open;
        let refused =
            if is_written { moved_on(log, lines, &sources) } else { change.take(log, lines, &mut sources) };
        let (tool, log, config, open) = (lines.tool.clone(), log.name.clone(), log.config, log.open);
        written.push(WrittenLog { tool, log, config, before, open, refused });
    }
    if !is_written {
        change.put(writer, batch)?;
    }
    Ok(written)
}

impl Store {
    /// Writes a batch, once however often it is sent, and answers the logs of it. A tool that is not among them is gone, and its lines
    /// with it.
    pub async fn append_tool_logs(&self, batch: Arc<LogBatch>) -> Result<Vec<WrittenLog>, StoreError> {
        self.db.write("write tools' logs", move |writer: &mut AnyConnection| write(writer, &batch)).await
    }
}
