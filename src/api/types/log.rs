//! What instances print.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogSource {
    /// Standard output of an instance.
    Out,
    /// Standard error of an instance.
    Err,
    /// The router: one request.
    Access,
    /// The platform: starts, ends, releases.
    Platform,
}

/// One line of a tool's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Its place in the tool's log: pass it plus one as `from` to read on.
    pub position: u64,
    /// When it was printed.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// By which instance, as in `v14.web.1`; `router` or `platform` otherwise.
    pub instance: String,
    /// Where it came from.
    pub source: LogSource,
    /// The line, without its end.
    pub text: String,
}

/// An instance that has ended: why, and what it printed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndedInstance {
    /// Which, as in `v14.web.1`.
    pub instance: String,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Why, as in `exit code 1` or `stopped`.
    pub reason: String,
    /// Its last lines, 50 at most.
    pub lines: Vec<LogLine>,
}
