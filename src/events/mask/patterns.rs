//! What is looked for of secrets, however they are written.

use super::{MOST_HEADS, SHORTEST_HEAD, Secret};
use crate::EventsError;
use std::collections::BTreeSet;

/// The shortest value that is masked; of one with several lines, the shortest line or part of one.
const SHORTEST: usize = 4;
const SHORTEST_LINE: usize = 8;

/// Bytes of all patterns.
const MOST: usize = 16 << 20;

/// Patterns, of which there are not too many.
#[derive(Default)]
struct Patterns {
    all: BTreeSet<String>,
    bytes: usize,
    /// Bytes of their shortest heads.
    heads: usize,
}

impl Patterns {
    fn add(&mut self, pattern: String) -> Result<(), EventsError> {
        let len = pattern.len();
        if self.all.insert(pattern) {
            self.bytes += len;
            self.heads += len.min(SHORTEST_HEAD);
        }
        if self.bytes <= MOST && self.heads <= MOST_HEADS {
            return Ok(());
        }
        Err(EventsError::Unmaskable { reason: "there are too many different values and lines".to_owned() })
    }

    fn add_forms(&mut self, value: &str) -> Result<(), EventsError> {
        forms(value).into_iter().try_for_each(|form| self.add(form))
    }
}

/// The patterns of secrets. As soon as there are too many there are none: nothing is gathered beyond.
pub(super) fn patterns<'a>(
    secrets: impl Iterator<Item = Secret<'a>>,
) -> Result<BTreeSet<String>, EventsError> {
    let mut patterns = Patterns::default();
    for secret in secrets {
        let (value, is_file) = match secret {
            Secret::Variable(value) => (value.trim(), value.trim().contains('\n')),
            Secret::File(content) => (content.trim(), true),
        };
        if value.len() >= SHORTEST {
            patterns.add_forms(value)?;
        }
        if !is_file {
            continue;
        }
        for line in value.lines().map(str::trim) {
            if line.len() >= SHORTEST_LINE {
                patterns.add(line.to_owned())?;
            }
            if let Some(given) = assigned(line).filter(|given| given.len() >= SHORTEST_LINE) {
                patterns.add_forms(given)?;
            }
        }
    }
    Ok(patterns.all)
}

/// A value as it is, and as JSON and URLs write it.
fn forms(value: &str) -> [String; 3] {
    [value.to_owned(), as_json(value), as_url(value)]
}

/// What a line of a settings file gives to a name, as in `password = "..."`.
fn assigned(line: &str) -> Option<&str> {
    let (_, value) = line.split_once(['=', ':'])?;
    Some(value.trim().trim_end_matches(',').trim_matches(['"', '\'']))
}

/// As a JSON text writes it, without the quotes.
fn as_json(value: &str) -> String {
    let quoted = serde_json::to_string(value).unwrap_or_default();
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or(value).to_owned()
}

/// As a part of a URL writes it (RFC 3986, section 2.1).
fn as_url(value: &str) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(byte.into());
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
