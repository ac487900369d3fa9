//! One-off processes.

use hythe_model::{Fault, ReleaseNumber};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What to run once in a tool's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The release whose image and config are used; the live one where absent.
    #[schema(value_type = Option<String>, example = "v14")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// A process type alone, or a program and its arguments.
    pub args: Vec<String>,
}

/// What a one-off process says; the last line is `exit` or `failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum RunLine {
    /// Bytes of its standard output.
    Stdout {
        /// The bytes in base64.
        data: String,
    },
    /// Bytes of its standard error.
    Stderr {
        /// The bytes in base64.
        data: String,
    },
    /// The end.
    Exit {
        /// Its exit code; 128 and the signal's number where one ended it.
        code: i32,
    },
    /// The end: the platform could not tell how it ended.
    Failed {
        /// Why.
        #[schema(value_type = super::ErrorBody)]
        fault: Fault,
    },
}
