//! Secrets replaced before a line is stored.
//!
//! What is looked for are the first bytes of each secret, by an automaton whose size is bounded; what is longer is compared from
//! there on. So a secret that is cut off is masked as far as it goes, and no config is too large to be masked.

mod patterns;

#[cfg(test)]
mod tests;

use crate::EventsError;
use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use hythe_model::{BuildEvent, Fault};
use patterns::patterns;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// What stands for a secret.
const MASK: &str = "[masked]";
/// How many bytes of a pattern are looked for: the first of these with which all of them are few, else the shortest.
const HEADS: [usize; 3] = [64, 32, 16];
const SHORTEST_HEAD: usize = 8;
/// Few bytes of heads, and the most of the shortest. Each is a state of the automaton, of some twelve bytes.
const FEW_HEADS: usize = 512 << 10;
const MOST_HEADS: usize = 1 << 20;
/// Bytes that are compared at one place; where that is not enough, all that follows is masked.
const COMPARED: usize = 1 << 20;

/// A value that is masked, as processes see it.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    /// A variable of the environment.
    Variable(&'a str),
    /// A file: each of its lines is masked too, and what a line gives to a name.
    File(&'a str),
}

impl<'a> From<&'a str> for Secret<'a> {
    fn from(value: &'a str) -> Self {
        Self::Variable(value)
    }
}

/// Replaces secret values in text by `[masked]`. Cheap to clone; holds the values, and shows none in `Debug`.
///
/// A value is also found as JSON and as a URL writes it, and, where it has several lines or is a file, line by line and without the
/// names that lines of a settings file give to what is secret in it. Values under four bytes are not masked, nor parts of a file
/// under eight: they would blacken every line.
#[derive(Clone, Default)]
pub struct Masker {
    /// None where nothing is masked.
    found: Option<Arc<Found>>,
}

/// How patterns are found.
struct Found {
    automaton: AhoCorasick,
    /// Bytes of the longest head.
    head: usize,
    /// The patterns that are longer than that, rising.
    long: Vec<Box<str>>,
    /// Bytes that all of it takes.
    memory: usize,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let patterns = self.found.as_ref().map_or(0, |found| found.automaton.patterns_len());
        f.debug_struct("Masker").field("patterns", &patterns).finish_non_exhaustive()
    }
}

impl Masker {
    /// A masker of these values. It takes a while where they are many. There is none where they are beyond all bounds: what may hold
    /// them is not to be shown then.
    pub fn new<'a, S: Into<Secret<'a>>>(values: impl IntoIterator<Item = S>) -> Result<Self, EventsError> {
        let patterns = patterns(values.into_iter().map(Into::into))?;
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self { found: Some(Arc::new(Found::new(patterns)?)) })
    }

    /// The text with every value replaced.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let (mut shown, mut from) = (String::new(), 0);
        for place in self.places(text) {
            shown.push_str(&text[from..place.start]);
            shown.push_str(MASK);
            from = place.end;
        }
        if from == 0 {
            return Cow::Borrowed(text);
        }
        shown.push_str(&text[from..]);
        Cow::Owned(shown)
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

    /// Bytes that it takes.
    pub fn memory(&self) -> usize {
        self.found.as_ref().map_or(0, |found| found.memory)
    }

    /// Where values stand in a text.
    fn places<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
        let mut from = 0;
        std::iter::from_fn(move || {
            let place = self.found.as_ref()?.next(text, from)?;
            from = place.end;
            Some(place)
        })
    }
}

impl Found {
    fn new(patterns: BTreeSet<String>) -> Result<Self, EventsError> {
        let (head, heads) = heads(&patterns);
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::LeftmostLongest)
            .dense_depth(1)
            .prefilter(false)
            .build(heads)
            .map_err(|error| EventsError::Unmaskable { reason: error.to_string() })?;
        let long = patterns.into_iter().filter(|pattern| pattern.len() > head).map(String::into_boxed_str);
        let long: Vec<_> = long.collect();
        let longer: usize = long.iter().map(|long| long.len() + size_of::<Box<str>>()).sum();
        let memory = size_of::<Self>() + automaton.memory_usage() + longer;
        Ok(Self { automaton, head, long, memory })
    }

    /// The first place from a byte on where a pattern stands, or the beginning of one, or several that overlap.
    fn next(&self, text: &str, from: usize) -> Option<Range<usize>> {
        let found = self.automaton.find(Input::new(text).range(from..))?;
        let mut compared = self.reach(&text.as_bytes()[found.start()..], found.len());
        let (mut at, mut end) = (found.start() + 1, found.start() + compared);
        // One that begins in it may reach further.
        while at < end && end < text.len() {
            let near = Input::new(text).range(at..text.len().min(end + self.head));
            let Some(inside) = self.automaton.find(near).filter(|inside| inside.start() < end) else { break };
            let reach = self.reach(&text.as_bytes()[inside.start()..], inside.len());
            (at, end, compared) = (inside.start() + 1, end.max(inside.start() + reach), compared + reach);
            if compared > COMPARED {
                end = text.len();
            }
        }
        // Whole characters.
        let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
        Some(found.start()..end)
    }

    /// How far a text goes on as a pattern does that begins with the head it begins with.
    fn reach(&self, text: &[u8], head: usize) -> usize {
        if head < self.head {
            return head;
        }
        // The one that has most in common with it stands beside it.
        let at = self.long.partition_point(|long| long.as_bytes() <= text);
        let beside = self.long[at.saturating_sub(1)..].iter().take(2);
        let common = |long: &str| long.bytes().zip(text).take_while(|(one, other)| one == *other).count();
        beside.map(|long| common(long)).fold(head, usize::max)
    }
}

/// The first bytes of patterns, of each so many that all of them are not too many, and how many these are.
fn heads(patterns: &BTreeSet<String>) -> (usize, BTreeSet<&[u8]>) {
    let cut = |head: usize| {
        let each = patterns.iter().map(|pattern| &pattern.as_bytes()[..pattern.len().min(head)]);
        (head, each.collect::<BTreeSet<_>>())
    };
    let few = HEADS.into_iter().map(cut).find(|(_, heads)| {
        let bytes: usize = heads.iter().map(|head| head.len()).sum();
        bytes <= FEW_HEADS
    });
    // There are no more patterns than have few enough of these.
    few.unwrap_or_else(|| cut(SHORTEST_HEAD))
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
