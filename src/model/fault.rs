//! What a user did not want to see, in words: what happened, why, what to do.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A failure that a user can cause or must know of. Its id is stable, may be searched for and is never reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Room and cause, as in `python/package-not-found` or `rollout/crashed`.
    pub id: String,
    /// What happened, one sentence with a full stop, as in "The build failed: a package of requirements.txt cannot be found."
    pub what: String,
    /// Why: lines of detail, the last lines of a log among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// What to do next, a line each; commands in it can be pasted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

impl Fault {
    /// A fault with nothing but its id and sentence.
    pub fn new(id: impl Into<String>, what: impl Into<String>) -> Self {
        Self { id: id.into(), what: what.into(), why: Vec::new(), next: Vec::new() }
    }

    /// Adds a line of detail.
    #[must_use]
    pub fn why(mut self, line: impl Into<String>) -> Self {
        self.why.push(line.into());
        self
    }

    /// Adds a line that says what to do.
    #[must_use]
    pub fn next(mut self, line: impl Into<String>) -> Self {
        self.next.push(line.into());
        self
    }

    /// Adds lines of detail, as the tail of a log.
    #[must_use]
    pub fn why_lines<S: Into<String>>(mut self, lines: impl IntoIterator<Item = S>) -> Self {
        self.why.extend(lines.into_iter().map(Into::into));
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.what, self.id)?;
        for line in self.why.iter().chain(&self.next) {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
