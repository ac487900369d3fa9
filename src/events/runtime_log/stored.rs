//! Lines of a segment, as they are stored.

use crate::{LineSource, LogLine, NewLine};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How far an instance's own log was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SourceAt {
    /// Not at all.
    #[default]
    Start,
    /// Up to this byte of this file.
    #[serde(rename = "at")]
    Byte(u64, u64),
    /// Up to the line of this time, in nanoseconds since 1970, and of this number among those of that time.
    #[serde(rename = "line")]
    Line(i64, u64),
    /// To its end: nothing is read any more. It ended so many microseconds after 1970, by which it may be forgotten, and be known to
    /// be; what an earlier version has stored is less, and as if it had ended long ago.
    #[serde(rename = "end")]
    Ended(u64),
}

impl SourceAt {
    /// To its end, which was at this time.
    pub(crate) fn ended(at: Timestamp) -> Self {
        Self::Ended(u64::try_from(at.as_microsecond()).unwrap_or_default())
    }

    /// Whether this one ended before that one.
    pub(crate) fn is_before(self, other: Self) -> bool {
        matches!((self, other), (Self::Ended(this), Self::Ended(that)) if this < that)
    }
}

/// A line of a segment. Short names: there is one on every line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stored<'l> {
    /// None where its place says it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) n: u64,
    /// Nanoseconds since 1970.
    at: i64,
    #[serde(borrow)]
    i: Cow<'l, str>,
    s: LineSource,
    #[serde(borrow)]
    t: Cow<'l, str>,
    /// Set on all but the last line of a batch: without that last one they do not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) more: bool,
    /// On the last line of a batch: how far its instance's log was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) src: Option<(String, SourceAt)>,
}

/// The first line of a segment: where every source stood when it was begun.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) first: u64,
    pub(super) sources: BTreeMap<String, SourceAt>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_none(position: &u64) -> bool {
    *position == 0
}

impl<'l> Stored<'l> {
    pub(crate) fn new(n: u64, line: &'l NewLine) -> Self {
        Self {
            n,
            at: i64::try_from(line.at.as_nanosecond()).unwrap_or_default(),
            i: Cow::Borrowed(&line.instance),
            s: line.source,
            t: Cow::Borrowed(&line.text),
            more: false,
            src: None,
        }
    }

    fn into_line(self) -> LogLine {
        LogLine {
            position: self.n,
            at: Timestamp::from_nanosecond(self.at.into()).unwrap_or_default(),
            instance: self.i.into_owned(),
            source: self.s,
            text: self.t.into_owned(),
        }
    }
}

/// The line of a segment; `None` for its head.
pub(crate) fn read_line(bytes: &[u8]) -> Result<Option<LogLine>, serde_json::Error> {
    if bytes.starts_with(b"{\"first\"") {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice::<Stored<'_>>(bytes)?.into_line()))
}

/// A line whose place says its position.
pub(crate) fn read_line_at(position: u64, text: &str) -> Result<LogLine, serde_json::Error> {
    let stored: Stored<'_> = serde_json::from_str(text)?;
    Ok(LogLine { position, ..stored.into_line() })
}
