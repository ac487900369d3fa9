//! Lines of a runtime log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineSource {
    /// Standard output of an instance.
    Out,
    /// Standard error of an instance.
    Err,
    /// The router: one request.
    Access,
    /// The platform: starts, ends, releases.
    Platform,
}

/// A line of a tool's runtime log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its place in the tool's log: rises by one a line. The next line after a reconnect is this plus one.
    pub position: u64,
    /// When it was written, by the instance's clock.
    pub at: Timestamp,
    /// Which instance, as in `v14.web.1`; `router` or `platform` otherwise.
    pub instance: String,
    /// Where it comes from.
    pub source: LineSource,
    /// The text, masked, without its end.
    pub text: String,
}

/// A line to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    /// When it was written.
    pub at: Timestamp,
    /// Which instance, or `router`, or `platform`.
    pub instance: String,
    /// Where it comes from.
    pub source: LineSource,
    /// The text, without its end; masked, cleaned and cut on the way in.
    pub text: String,
}
