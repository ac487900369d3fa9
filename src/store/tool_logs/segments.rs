//! Segments of tools' logs: lines that are an object, and rows no more.

use super::segment;
use crate::codec::now;
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::dialect::only_log_writer;
use crate::logs::signed;
use crate::schema::{log_pieces, log_segments, log_writers, logs};
use crate::{Store, StoreError};
use diesel::dsl::{count_star, min};
use diesel::prelude::*;
use std::time::Duration;

/// Logs that are named at a time.
const AT_ONCE: i64 = 1000;

/// Lines of a log that are an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogSegment {
    /// The log's name.
    pub log: String,
    /// Number of the first line.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
    /// Bytes of the lines.
    pub bytes: u64,
}

/// Takes so much away from what a log has in pieces.
fn lessen(writer: &mut AnyConnection, log: &str, bytes: i64, pieces: i64) -> Outcome<()> {
    let change = (logs::bytes.eq(logs::bytes - bytes), logs::pieces.eq(logs::pieces - pieces));
    diesel::update(logs::table.find(log)).set(change).execute(writer)?;
    Ok(())
}

/// The segments that go so that the others fit.
fn surplus(writer: &mut AnyConnection, log: &str, keep: u64) -> Outcome<Vec<LogSegment>> {
    let mine = log_segments::table.filter(log_segments::log.eq(log)).order(log_segments::first.desc());
    let (mut bytes, mut gone) = (0, Vec::new());
    for row in mine.load::<(String, i64, i64, i64)>(writer)? {
        let segment = segment(row)?;
        bytes += segment.bytes;
        if bytes > keep {
            gone.push(segment);
        }
    }
    if let Some(newest) = gone.first() {
        let mine = log_segments::table.filter(log_segments::log.eq(log));
        diesel::delete(mine.filter(log_segments::first.le(signed(newest.first)))).execute(writer)?;
    }
    Ok(gone)
}

impl Store {
    /// Puts a segment, which is an object by now, in the place of the so many pieces that it was made of, the log's oldest ones. Of the
    /// segments so many bytes stay, the newest; those that go are answered. `None` where the pieces are not as they were: another
    /// server has made a segment of them.
    pub async fn close_segment(
        &self,
        of: LogSegment,
        pieces: u64,
        keep: u64,
    ) -> Result<Option<Vec<LogSegment>>, StoreError> {
        let work = move |writer: &mut AnyConnection| {
            only_log_writer(writer)?;
            let mine = log_pieces::table.filter(log_pieces::log.eq(&of.log));
            let oldest = mine.select(min(log_pieces::first)).first::<Option<i64>>(writer)?;
            let within = mine.filter(log_pieces::first.le(signed(of.last)));
            let count = within.select(count_star()).first::<i64>(writer)?;
            if oldest != Some(signed(of.first)) || count != signed(pieces) {
                return Ok(None);
            }
            let within = log_pieces::table.filter(log_pieces::log.eq(&of.log));
            diesel::delete(within.filter(log_pieces::first.le(signed(of.last)))).execute(writer)?;
            let row = (
                log_segments::log.eq(&of.log),
                log_segments::first.eq(signed(of.first)),
                log_segments::last.eq(signed(of.last)),
                log_segments::bytes.eq(signed(of.bytes)),
            );
            diesel::insert_into(log_segments::table).values(row).execute(writer)?;
            lessen(writer, &of.log, signed(of.bytes), count)?;
            surplus(writer, &of.log, keep).map(Some)
        };
        self.db.write("close a segment of a log", work).await
    }

    /// Lets the oldest pieces of a log go until so many bytes of it are left in pieces; how many lines went. It is what bounds a log
    /// that cannot become objects.
    pub async fn trim_log(&self, log: &str, keep: u64) -> Result<u64, StoreError> {
        let log = log.to_owned();
        let work = move |writer: &mut AnyConnection| {
            only_log_writer(writer)?;
            let open = logs::table.find(&log).select(logs::bytes).first::<i64>(writer).optional()?;
            let mut open = open.unwrap_or_default();
            let (mut lines, mut firsts) = (0, Vec::new());
            let (mut bytes, mine) = (0, log_pieces::table.filter(log_pieces::log.eq(&log)));
            let oldest = mine.order(log_pieces::first).select((log_pieces::first, log_pieces::lines));
            for (first, text) in oldest.limit(AT_ONCE).load::<(i64, String)>(writer)? {
                if open <= signed(keep) {
                    break;
                }
                let its = signed(text.len() as u64) + 1;
                (open, bytes) = (open - its, bytes + its);
                lines += text.split('\n').count() as u64;
                firsts.push(first);
            }
            let gone = log_pieces::table.filter(log_pieces::log.eq(&log));
            diesel::delete(gone.filter(log_pieces::first.eq_any(&firsts))).execute(writer)?;
            lessen(writer, &log, bytes, signed(firsts.len() as u64))?;
            Ok(lines)
        };
        self.db.write("shorten a log", work).await
    }

    /// The logs of tools that have so many bytes in pieces and were not written to for so long, some of them.
    pub async fn idle_logs(&self, idle: Duration, bytes: u64) -> Result<Vec<String>, StoreError> {
        let before = now() - i64::try_from(idle.as_micros()).unwrap_or(i64::MAX);
        let work = move |reader: &mut AnyConnection| {
            let of_tools =
                logs::table.filter(logs::tool_id.is_not_null()).filter(logs::bytes.ge(signed(bytes)));
            let idle = of_tools.filter(logs::written_at.lt(before)).order(logs::written_at);
            Ok(idle.limit(AT_ONCE).select(logs::name).load(reader)?)
        };
        self.db.read("look for logs that rest", work).await
    }

    /// All segments of a log, oldest first.
    pub async fn segments(&self, log: &str) -> Result<Vec<LogSegment>, StoreError> {
        let log = log.to_owned();
        let work = move |reader: &mut AnyConnection| {
            let mine = log_segments::table.filter(log_segments::log.eq(&log)).order(log_segments::first);
            let rows = mine.load::<(String, i64, i64, i64)>(reader)?;
            Ok(rows.into_iter().map(segment).collect::<Result<_, _>>()?)
        };
        self.db.read("list segments of a log", work).await
    }

    /// Forgets writers that have not written for so long: their processes are gone.
    pub async fn forget_log_writers(&self, silent: Duration) -> Result<(), StoreError> {
        let before = now() - i64::try_from(silent.as_micros()).unwrap_or(i64::MAX);
        let work = move |writer: &mut AnyConnection| {
            only_log_writer(writer)?;
            let gone = log_writers::table.filter(log_writers::written_at.lt(before));
            diesel::delete(gone).execute(writer)?;
            Ok(())
        };
        self.db.write("forget writers of logs", work).await
    }
}
