//! Failures that a user can cause, in written words.
//!
//! A fault is the last line that a buildpack prints: the platform shows it instead of the log's tail. Ids are stable.

use serde::Serialize;

/// Begins the line by which a platform tells a fault from output.
const MARK: &str = "::hythe-fault::";

/// What happened, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Buildpack and cause, as in `python/package-not-found`.
    pub id: &'static str,
    /// What happened: one sentence with a full stop.
    pub what: String,
    /// Why, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// What to do, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

impl Fault {
    /// A fault with its id and sentence.
    pub fn new(id: &'static str, what: impl Into<String>) -> Self {
        Self { id, what: what.into(), why: Vec::new(), next: Vec::new() }
    }

    /// Adds a reason.
    #[must_use]
    pub fn why(mut self, line: impl Into<String>) -> Self {
        self.why.push(line.into());
        self
    }

    /// Adds reasons.
    #[must_use]
    pub fn why_lines<S: Into<String>>(mut self, lines: impl IntoIterator<Item = S>) -> Self {
        self.why.extend(lines.into_iter().map(Into::into));
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn next(mut self, line: impl Into<String>) -> Self {
        self.next.push(line.into());
        self
    }

    /// The line that a platform reads.
    pub fn line(&self) -> String {
        format!("{MARK}{}", serde_json::to_string(self).unwrap_or_default())
    }
}

/// The known name that is nearest to a misspelt one, where one is near enough.
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let limit = (wrong.len() / 4).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong, name), name))
        .filter(|(distance, _)| (1..=limit).contains(distance))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_line_of_json() {
        let fault = Fault::new("python/x", "It failed.").why("because").next("try \"y\"\nagain");
        let line = fault.line();
        assert_eq!(line.lines().count(), 1);
        let json = line.strip_prefix("::hythe-fault::").unwrap();
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(value["next"][0], "try \"y\"\nagain");
    }

    #[test]
    fn suggestions_are_near() {
        assert_eq!(suggest("flaks", ["flask", "click"]), Some("flask"));
        assert_eq!(suggest("reqeusts", ["requests", "request"]), Some("requests"));
        assert_eq!(suggest("zzz", ["flask"]), None);
        assert_eq!(suggest("flask", ["flask"]), None, "the same name is no suggestion");
    }
}
