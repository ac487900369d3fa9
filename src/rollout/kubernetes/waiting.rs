//! What is told of a rollout that waits long: for what, and what hinders it.

use super::progress::Hindrance;
use crate::runtime::Notes;
use hythe_model::{BuildEvent, Phase};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// So long a wait is none: a node that takes a pod at its second look is not worth a word.
const QUIET: Duration = Duration::from_secs(10);

/// Tells whoever pushes once that the same is waited for, and again where something else is in its way.
pub(super) struct Waiting<'a, 'n> {
    notes: &'a Notes<'n>,
    phase: Phase,
    what: String,
    since: Instant,
    /// All that was waited for so far, and with how many pods before.
    known: HashSet<(String, usize)>,
    /// What was told of it.
    said: HashSet<(String, String)>,
}

impl<'a, 'n> Waiting<'a, 'n> {
    /// Nothing is waited for yet.
    pub(super) fn new(phase: Phase, notes: &'a Notes<'n>) -> Self {
        let (known, said) = (HashSet::new(), HashSet::new());
        Self { notes, phase, what: String::new(), since: Instant::now(), known, said }
    }

    /// This is waited for now, of the so-manieth pods; whether it never was before. What comes and goes does not get on, but a pod in
    /// another one's place begins anew.
    pub(super) fn is_new(&mut self, what: &str, pods: usize) -> bool {
        if self.what != what {
            (self.what, self.since) = (what.to_owned(), Instant::now());
        }
        self.known.insert((what.to_owned(), pods))
    }

    /// Tells what is waited for where that is due, and answers when it is to be told next, this time at the latest.
    ///
    /// A hindrance is told once of each kind: its words may change with each look, as where they count nodes.
    pub(super) fn tell(&mut self, hindrance: Option<&Hindrance>, until: Instant) -> Instant {
        if self.since.elapsed() < QUIET {
            return until.min(self.since + QUIET);
        }
        let why = hindrance.map_or_else(String::new, |hindrance| hindrance.kind().to_owned());
        if self.said.insert((self.what.clone(), why)) {
            let text = match hindrance {
                Some(hindrance) => format!("{}; {hindrance}", self.what),
                None => self.what.clone(),
            };
            (self.notes)(BuildEvent::Note { phase: self.phase, text, millis: None });
        }
        until
    }

    /// What is waited for.
    pub(super) fn what(&self) -> &str {
        &self.what
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_told_once_and_again_for_another_reason() {
        let said = Mutex::new(Vec::new());
        let notes = |event: BuildEvent| {
            if let BuildEvent::Note { text, .. } = event {
                said.lock().unwrap().push(text);
            }
        };
        let mut waiting = Waiting::new(Phase::Rollout, &notes);
        let until = Instant::now() + QUIET * 6;
        let no_node = |nodes| Hindrance::NoNode(format!("0/{nodes} nodes are available"));
        let pull = Hindrance::Node { reason: "ErrImagePull".to_owned(), message: "refused".to_owned() };
        assert!(waiting.is_new("web: 0 of 1 started", 1));
        assert_eq!(waiting.tell(Some(&no_node(1)), until), Instant::now() + QUIET, "it may pass by itself");
        sleep(QUIET).await;
        assert!(!waiting.is_new("web: 0 of 1 started", 1));
        for hindrance in [Some(&no_node(1)), Some(&no_node(2)), Some(&pull), Some(&pull), None] {
            assert_eq!(waiting.tell(hindrance, until), until);
        }
        assert!(waiting.is_new("web: 0 of 1 ready", 1));
        waiting.tell(None, until);
        assert!(!waiting.is_new("web: 0 of 1 started", 1), "it was there before");
        assert!(waiting.is_new("web: 0 of 1 started", 2), "another pod");
        sleep(QUIET).await;
        waiting.tell(Some(&pull), until);
        let expected = [
            "web: 0 of 1 started; no node takes it: 0/1 nodes are available",
            "web: 0 of 1 started; ErrImagePull: refused",
            "web: 0 of 1 started",
        ];
        assert_eq!(*said.lock().unwrap(), expected);
    }
}
