//! What is looked for of secrets, however they are written.

use super::Secret;
use std::collections::BTreeSet;

/// The shortest value that is masked; of one with several lines, the shortest line or part of one.
const SHORTEST: usize = 4;
const SHORTEST_LINE: usize = 8;

/// The patterns of secrets.
pub(super) fn patterns<'a>(secrets: impl Iterator<Item = Secret<'a>>) -> BTreeSet<String> {
    let mut patterns = BTreeSet::new();
    for secret in secrets {
        let (value, is_file) = match secret {
            Secret::Variable(value) => (value.trim(), value.trim().contains('\n')),
            Secret::File(content) => (content.trim(), true),
        };
        if value.len() >= SHORTEST {
            patterns.extend(forms(value));
        }
        if !is_file {
            continue;
        }
        for line in value.lines().map(str::trim) {
            if line.len() >= SHORTEST_LINE {
                patterns.insert(line.to_owned());
            }
            if let Some(given) = assigned(line).filter(|given| given.len() >= SHORTEST_LINE) {
                patterns.extend(forms(given));
            }
        }
    }
    patterns
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
