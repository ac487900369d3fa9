//! What instances print.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The router's access log.
    Access,
    /// The platform: starts, exits and their reasons.
    Platform,
}

/// One line of a tool's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When it was printed.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// By which instance, as in `v14.web.1`.
    pub instance: String,
    /// Where.
    pub stream: LogStream,
    /// The line, without its end.
    pub text: String,
}
