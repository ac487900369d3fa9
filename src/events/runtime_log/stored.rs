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
    /// To its end: nothing is read any more. The position of its last line orders what may be forgotten.
    #[serde(rename = "end")]
    Ended(u64),
}

/// A line of a segment. Short names: there is one on every line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored<'l> {
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

impl<'l> Stored<'l> {
    pub(super) fn new(n: u64, line: &'l NewLine) -> Self {
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
}

/// The line of a segment; `None` for its head.
pub(crate) fn read_line(bytes: &[u8]) -> Result<Option<LogLine>, serde_json::Error> {
    if bytes.starts_with(b"{\"first\"") {
        return Ok(None);
    }
    let stored: Stored<'_> = serde_json::from_slice(bytes)?;
    Ok(Some(LogLine {
        position: stored.n,
        at: Timestamp::from_nanosecond(stored.at.into()).unwrap_or_default(),
        instance: stored.i.into_owned(),
        source: stored.s,
        text: stored.t.into_owned(),
    }))
}
