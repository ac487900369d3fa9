//! Secrets replaced before a line is stored.

mod lines;

pub use lines::MaskedLines;

use aho_corasick::{AhoCorasick, MatchKind};
use hythe_model::{BuildEvent, Fault};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// What stands for a secret.
const MASK: &str = "[masked]";
/// The shortest value that is masked; of a value of several lines, the shortest line.
const SHORTEST: usize = 4;
const SHORTEST_LINE: usize = 8;

/// Replaces secret values in text by `[masked]`. Cheap to clone; holds the values, and shows none in `Debug`.
///
/// A value is also found as JSON and as a URL writes it, and, where it has several lines, line by line and without the names that
/// lines of a settings file give to what is secret in it. Values under four bytes are not masked: they would blacken every line.
#[derive(Clone, Default)]
pub struct Masker {
    automaton: Option<Arc<AhoCorasick>>,
    longest: usize,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let patterns = self.automaton.as_ref().map_or(0, |automaton| automaton.patterns_len());
        f.debug_struct("Masker").field("patterns", &patterns).finish_non_exhaustive()
    }
}

impl Masker {
    /// A masker of these values.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns = BTreeSet::new();
        for value in values {
            let value = value.trim();
            if value.len() >= SHORTEST {
                patterns.extend([value.to_owned(), as_json(value), as_url(value)]);
            }
            let lines = value.lines().map(str::trim);
            let lines = lines.flat_map(|line| [Some(line), assigned(line).filter(|_| value.contains('\n'))]);
            let lines = lines.flatten().filter(|line| line.len() >= SHORTEST_LINE);
            patterns.extend(lines.map(str::to_owned));
        }
        let longest = patterns.iter().map(String::len).max().unwrap_or_default();
        let build = || AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns);
        let automaton = if patterns.is_empty() { None } else { build().ok().map(Arc::new) };
        Self { automaton, longest }
    }

    /// The text with every value replaced.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.automaton {
            Some(automaton) if automaton.is_match(text) => {
                let masks = vec![MASK; automaton.patterns_len()];
                Cow::Owned(automaton.replace_all(text, &masks))
            }
            _ => Cow::Borrowed(text),
        }
    }

    /// The event with every text in it masked.
    #[must_use]
    pub fn mask_event(&self, event: BuildEvent) -> BuildEvent {
        change(event, |text| self.mask(text).into_owned())
    }

    /// The fault with every text in it masked.
    #[must_use]
    pub fn mask_fault(&self, fault: Fault) -> Fault {
        change_fault(fault, &|text| self.mask(text).into_owned())
    }

    /// Bytes of the longest pattern.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Where values stand in bytes.
    pub(crate) fn places<'t>(&'t self, bytes: &'t [u8]) -> impl Iterator<Item = Range<usize>> + 't {
        self.automaton.iter().flat_map(move |automaton| automaton.find_iter(bytes).map(|found| found.range()))
    }
}

/// The event with every text changed.
pub(crate) fn change(event: BuildEvent, change: impl Fn(&str) -> String) -> BuildEvent {
    match event {
        BuildEvent::Note { phase, text, millis } => BuildEvent::Note { phase, text: change(&text), millis },
        BuildEvent::Output { phase, line } => BuildEvent::Output { phase, line: change(&line) },
        BuildEvent::Live { .. } => event,
        BuildEvent::Failed { fault } => BuildEvent::Failed { fault: change_fault(fault, &change) },
    }
}

fn change_fault(fault: Fault, change: &impl Fn(&str) -> String) -> Fault {
    let all = |lines: Vec<String>| lines.iter().map(|line| change(line)).collect();
    let Fault { id, what, why, next } = fault;
    Fault { id, what: change(&what), why: all(why), next: all(next) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use hythe_model::Phase;

    #[test]
    fn values_are_replaced_however_they_are_written() {
        let masker = Masker::new(["hunter2/x", "say \"friend\"", "abc", ""]);
        assert_eq!(masker.mask("user:hunter2/x@host, again hunter2/x"), "user:[masked]@host, again [masked]");
        assert_eq!(masker.mask("https://u:hunter2%2Fx@host"), "https://u:[masked]@host");
        assert_eq!(masker.mask(r#"{"door":"say \"friend\""}"#), r#"{"door":"[masked]"}"#);
        assert_eq!(masker.mask("abc hunter2"), "abc hunter2", "too short, and another value");
        assert!(!format!("{masker:?}").contains("hunter"));
    }

    #[test]
    fn the_longest_of_overlapping_values_wins() {
        let masker = Masker::new(["secret", "secret-of-ann"]);
        assert_eq!(masker.mask("secret-of-ann secret-of"), "[masked] [masked]-of");
    }

    #[test]
    fn a_value_of_several_lines_is_masked_line_by_line() {
        let masker = Masker::new(["-----BEGIN KEY-----\nMIIEvQIBADANBg\nab\n-----END KEY-----\n"]);
        assert_eq!(masker.mask("key: MIIEvQIBADANBg"), "key: [masked]");
        assert_eq!(masker.mask("ab"), "ab");
    }

    #[test]
    fn what_is_secret_in_a_settings_file_is_masked_without_its_name() {
        let masker = Masker::new([
            "[client]\nuser = s53\npassword = \"hunter2!hunter2\"\n",
            "{\n  \"token\": \"abcdefgh\",\n}",
        ]);
        assert_eq!(masker.mask("mysql -us53 -phunter2!hunter2 abcdefgh"), "mysql -us53 -p[masked] [masked]");
        assert_eq!(masker.mask("password = \"hunter2!hunter2\""), "[masked]");
        assert_eq!(
            Masker::new(["a=hunter2hunter2"]).mask("hunter2hunter2"),
            "hunter2hunter2",
            "one line is one value"
        );
    }

    #[test]
    fn every_text_of_an_event_is_masked() {
        let masker = Masker::new(["hunter2"]);
        let fault = Fault::new("a/b", "hunter2").why("x hunter2").next("y hunter2");
        let BuildEvent::Failed { fault } = masker.mask_event(BuildEvent::Failed { fault }) else { panic!() };
        assert_eq!(fault, Fault::new("a/b", "[masked]").why("x [masked]").next("y [masked]"));
        let event = BuildEvent::Output { phase: Phase::Build, line: "hunter2".into() };
        assert_eq!(
            masker.mask_event(event),
            BuildEvent::Output { phase: Phase::Build, line: "[masked]".into() }
        );
    }
}
