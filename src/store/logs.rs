//! Logs that several servers write and read: numbered lines in pieces, until the whole is an object. Those of builds are written here,
//! those of tools in `tool_logs`.
//!
//! A line gets its number when its piece is written, so that writers on different servers never give one twice. What is in a
//! line is its writer's.

use crate::claims::expect_own;
use crate::codec::narrow;
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::schema::{log_pieces, logs};
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::BuildId;

/// Pieces that are read at a time.
const AT_ONCE: i64 = 64;

/// How far a log has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogState {
    /// Number of its last line, from 1; 0 where there is none.
    pub last: u64,
    /// Bytes of its lines.
    pub bytes: u64,
    /// Whether nothing comes any more.
    pub ended: bool,
    /// Whether it is an object now, and its pieces are gone.
    pub closed: bool,
}

/// Some lines of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// Number of the first.
    pub first: u64,
    /// The lines.
    pub lines: Vec<String>,
}

type Row = (i64, i64, bool, bool);

fn state(connection: &mut AnyConnection, name: &str) -> Outcome<Option<LogState>> {
    let columns = (logs::last, logs::bytes, logs::ended, logs::closed);
    let row = logs::table.find(name).select(columns).first::<Row>(connection).optional()?;
    let Some((last, bytes, ended, closed)) = row else { return Ok(None) };
    let (last, bytes) = (narrow("logs.last", last)?, narrow("logs.bytes", bytes)?);
    Ok(Some(LogState { last, bytes, ended, closed }))
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl LogPiece {
    pub(crate) fn read((first, lines): (i64, String)) -> Result<Self, StoreError> {
        let lines = lines.split('\n').map(str::to_owned).collect();
        Ok(Self { first: narrow("log_pieces.first", first)?, lines })
    }
}

/// Pieces behind a line, oldest first: not more than some.
pub(crate) fn pieces(reader: &mut AnyConnection, name: &str, after: u64) -> Outcome<Vec<LogPiece>> {
    let mine = log_pieces::table.filter(log_pieces::log.eq(name));
    // The piece that the line is in comes too, where there is more in it.
    let from = mine.filter(log_pieces::first.le(signed(after) + 1)).order(log_pieces::first.desc());
    let from = from.select(log_pieces::first).first::<i64>(reader).optional()?.unwrap_or(0);
    let rows = mine.filter(log_pieces::first.ge(from)).order(log_pieces::first).limit(AT_ONCE);
    let rows = rows.select((log_pieces::first, log_pieces::lines)).load::<(i64, String)>(reader)?;
    let mut pieces = Vec::new();
    for row in rows {
        let piece = LogPiece::read(row)?;
        if piece.first + piece.lines.len() as u64 > after + 1 {
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

fn append(writer: &mut AnyConnection, name: &str, lines: &[String], ends: bool) -> Outcome<LogState> {
    let found = state(writer, name)?;
    let before = found.unwrap_or_default();
    if before.ended {
        return Ok(before);
    }
    let bytes = lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>();
    let now = LogState {
        last: before.last + lines.len() as u64,
        bytes: before.bytes + bytes,
        ended: ends,
        closed: false,
    };
    let change = (
        logs::last.eq(signed(now.last)),
        logs::bytes.eq(signed(now.bytes)),
        logs::ended.eq(ends),
        logs::closed.eq(false),
    );
    if found.is_some() {
        diesel::update(logs::table.find(name)).set(change).execute(writer)?;
    } else {
        diesel::insert_into(logs::table).values((logs::name.eq(name), change)).execute(writer)?;
    }
    if !lines.is_empty() {
        let row = (
            log_pieces::log.eq(name),
            log_pieces::first.eq(signed(before.last + 1)),
            log_pieces::lines.eq(lines.join("\n")),
        );
        diesel::insert_into(log_pieces::table).values(row).execute(writer)?;
    }
    Ok(now)
}

impl Store {
    /// Appends lines, none of which has a line end in it; `ends` where nothing comes after them. A log that has ended stays as it
    /// is. How far it has come is answered.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the lines are about the run of a build, `of`, that another holder runs now.
    pub async fn append_log(
        &self,
        name: &str,
        lines: Vec<String>,
        ends: bool,
        of: Option<BuildId>,
    ) -> Result<LogState, StoreError> {
        let (name, holder) = (name.to_owned(), self.holder.clone());
        let work = move |writer: &mut AnyConnection| {
            if let Some(build) = of {
                expect_own(writer, build, holder.as_deref())?;
            }
            append(writer, &name, &lines, ends)
        };
        self.db.write("write a log", work).await
    }

    /// How far a log has come; `None` where there is none.
    pub async fn log_state(&self, name: &str) -> Result<Option<LogState>, StoreError> {
        let name = name.to_owned();
        self.db.read("look at a log", move |reader| state(reader, &name)).await
    }

    /// How far a log has come, and pieces of it behind a line, oldest first: not more than some, and all where there are none.
    pub async fn log_pieces(
        &self,
        name: &str,
        after: u64,
    ) -> Result<(Option<LogState>, Vec<LogPiece>), StoreError> {
        let name = name.to_owned();
        let work = move |reader: &mut AnyConnection| {
            let state = state(reader, &name)?;
            let pieces = pieces(reader, &name, after)?;
            Ok((state, pieces))
        };
        self.db.read("read a log", work).await
    }

    /// Forgets the pieces of a log that has ended and is an object.
    pub async fn close_log(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        let work = move |writer: &mut AnyConnection| {
            let ended = logs::table.find(&name).filter(logs::ended.eq(true));
            if diesel::update(ended).set(logs::closed.eq(true)).execute(writer)? > 0 {
                let pieces = log_pieces::table.filter(log_pieces::log.eq(&name));
                diesel::delete(pieces).execute(writer)?;
            }
            Ok(())
        };
        self.db.write("close a log", work).await
    }

    /// Forgets a log.
    pub async fn remove_log(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        let work = move |writer: &mut AnyConnection| {
            diesel::delete(logs::table.find(&name)).execute(writer)?;
            Ok(())
        };
        self.db.write("remove a log", work).await
    }

    /// The logs whose names begin with this, sorted, with how far they have come.
    pub async fn logs(&self, prefix: &str) -> Result<Vec<(String, LogState)>, StoreError> {
        let prefix = prefix.to_owned();
        let work = move |reader: &mut AnyConnection| {
            let pattern = format!("{}%", prefix.replace(['%', '_', '\\'], ""));
            let all = logs::table.filter(logs::name.like(&pattern)).order(logs::name);
            let names = all.select(logs::name).load::<String>(reader)?;
            let mut found = Vec::new();
            for name in names {
                if let Some(state) = state(reader, &name)? {
                    found.push((name, state));
                }
            }
            Ok(found)
        };
        self.db.read("list logs", work).await
    }
}
