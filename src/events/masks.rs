//! What is masked of each tool, whichever server made the release that runs.
//!
//! Nothing of it is known before lines come that are to be stored: then it is asked for, as it was for whichever release has printed
//! them. It is kept for as long as there is room; what was not needed the longest goes first, and is asked for again.

use crate::Masker;
use futures::future::BoxFuture;
use hythe_model::{Fault, ReleaseNumber, ToolName};
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long a tool whose values cannot be had is not asked about again.
const PAUSE: Duration = Duration::from_secs(10);
/// Tools that are asked about at the same time.
pub(crate) const ASKING: usize = 8;
/// Bytes of the maskers that are kept.
const ROOM: usize = 64 << 20;
/// What one costs beside them, bytes.
const BESIDE: usize = 256;

/// Releases of a tool whose lines are to be masked, beside what serves and what comes.
pub type Printing = BTreeSet<ReleaseNumber>;

/// Answers what is to be masked of a tool of which these releases print; `None` where there is no such tool.
pub type MaskerOf =
    Arc<dyn Fn(ToolName, Printing) -> BoxFuture<'static, Result<Option<Masker>, Fault>> + Send + Sync>;

/// What is known of a tool.
enum Known {
    Masker {
        masker: Masker,
        /// The releases that it is for.
        of: Printing,
        /// The number of the newest config that was seen since.
        config: Option<i64>,
        /// When it was used last, in uses.
        used: u64,
    },
    /// That it could not be had at this time.
    Nothing(Instant),
}

/// The maskers of tools.
pub(crate) struct Masks {
    masker_of: OnceLock<MaskerOf>,
    asking: Semaphore,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    of: HashMap<ToolName, Known>,
    bytes: usize,
    uses: u64,
    /// The tools that are asked for, and who asks: not among them any more is what was forgotten meanwhile, which may be wrong by now.
    asked: HashMap<ToolName, u64>,
}

impl Default for Masks {
    fn default() -> Self {
        Self { masker_of: OnceLock::new(), asking: Semaphore::new(ASKING), kept: Mutex::default() }
    }
}

impl Masks {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks this, from now on.
    pub(crate) fn ask(&self, masker_of: MaskerOf) {
        let _ = self.masker_of.set(masker_of);
    }

    /// Asks anew for what is masked of a tool.
    pub(crate) fn forget(&self, tool: &ToolName) {
        let mut kept = self.kept();
        kept.asked.remove(tool);
        kept.remove(tool);
    }

    /// Takes note of a tool's newest config: another one than before may hold other values.
    pub(crate) fn note(&self, tool: &ToolName, number: i64) {
        let changed = match self.kept().of.get_mut(tool) {
            Some(Known::Masker { config, .. }) => {
                config.replace(number).is_some_and(|before| before != number)
            }
            _ => false,
        };
        if changed {
            self.forget(tool);
        }
    }

    /// The masker of a tool of which these releases print; `None` where there is no such tool, or its values cannot be had: nothing of
    /// it may be stored then.
    pub(crate) async fn of(&self, tool: &ToolName, printing: &Printing) -> Option<Masker> {
        if let ControlFlow::Break(known) = self.kept().look(tool, printing) {
            return known;
        }
        let Some(masker_of) = self.masker_of.get() else { return Some(Masker::default()) };
        let _asking = self.asking.acquire().await;
        let (of, ask) = {
            let mut kept = self.kept();
            // Somebody else may have asked meanwhile.
            if let ControlFlow::Break(known) = kept.look(tool, printing) {
                return known;
            }
            let ask = kept.uses;
            kept.asked.insert(tool.clone(), ask);
            (kept.printing(tool, printing), ask)
        };
        let answer = masker_of(tool.clone(), of.clone()).await;
        let mut kept = self.kept();
        let still = kept.asked.get(tool) == Some(&ask);
        if still {
            kept.asked.remove(tool);
        }
        match answer {
            Ok(Some(masker)) => {
                if still {
                    kept.keep(tool, masker.clone(), of);
                }
                Some(masker)
            }
            Ok(None) => None,
            Err(fault) => {
                tracing::error!(%tool, %fault, "its lines are not stored: what is to be masked is not known");
                kept.remove(tool);
                kept.of.insert(tool.clone(), Known::Nothing(Instant::now()));
                None
            }
        }
    }
}

impl Kept {
    /// Breaks with what is known where that is enough for these releases; with nothing where it cannot be had.
    fn look(&mut self, tool: &ToolName, printing: &Printing) -> ControlFlow<Option<Masker>> {
        self.uses += 1;
        match self.of.get_mut(tool) {
            Some(Known::Masker { masker, of, used, .. }) if of.is_superset(printing) => {
                *used = self.uses;
                ControlFlow::Break(Some(masker.clone()))
            }
            Some(Known::Nothing(since)) if since.elapsed() < PAUSE => ControlFlow::Break(None),
            _ => ControlFlow::Continue(()),
        }
    }

    /// The releases to ask for: those that print now, and those that did since it was forgotten.
    fn printing(&self, tool: &ToolName, printing: &Printing) -> Printing {
        match self.of.get(tool) {
            Some(Known::Masker { of, .. }) => of.union(printing).copied().collect(),
            _ => printing.clone(),
        }
    }

    fn keep(&mut self, tool: &ToolName, masker: Masker, of: Printing) {
        self.remove(tool);
        self.bytes += masker.memory() + BESIDE;
        let known = Known::Masker { masker, of, config: None, used: self.uses };
        self.of.insert(tool.clone(), known);
        while self.bytes > ROOM && self.of.len() > 1 {
            let used = |known: &Known| match known {
                Known::Masker { used, .. } => *used,
                Known::Nothing(_) => 0,
            };
            let others = self.of.iter().filter(|(other, _)| *other != tool);
            let Some(oldest) = others.min_by_key(|(_, known)| used(known)) else { return };
            let oldest = oldest.0.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, tool: &ToolName) {
        if let Some(Known::Masker { masker, .. }) = self.of.remove(tool) {
            self.bytes -= masker.memory() + BESIDE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn tool(number: usize) -> ToolName {
        format!("tool{number}").parse().unwrap()
    }

    fn printing(releases: &[u32]) -> Printing {
        releases.iter().copied().map(ReleaseNumber).collect()
    }

    /// What was asked for.
    type Asked = Arc<Mutex<Vec<(ToolName, Printing)>>>;

    /// Maskers of one long value each.
    fn masks(bytes: usize) -> (Masks, Asked) {
        let (masks, asked) = (Masks::default(), Asked::default());
        let masker = Masker::new(["x".repeat(bytes).as_str()]).unwrap();
        let asks = asked.clone();
        masks.ask(Arc::new(move |tool, printing| {
            asks.lock().unwrap().push((tool, printing));
            Box::pin(std::future::ready(Ok(Some(masker.clone()))))
        }));
        (masks, asked)
    }

    #[tokio::test]
    async fn a_release_that_was_not_asked_for_is_asked_for_beside_the_others() {
        let (masks, asked) = masks(8);
        for of in [&[][..], &[1], &[], &[2], &[1, 2]] {
            assert!(masks.of(&tool(1), &printing(of)).await.is_some());
        }
        masks.forget(&tool(1));
        assert!(masks.of(&tool(1), &printing(&[2])).await.is_some());
        let of: Vec<Printing> = asked.lock().unwrap().iter().map(|(_, of)| of.clone()).collect();
        assert_eq!(of, [printing(&[]), printing(&[1]), printing(&[1, 2]), printing(&[2])]);
    }

    #[tokio::test]
    async fn what_was_not_needed_the_longest_goes_where_there_is_no_room() {
        // Of as many bytes as a value may have, and the same of all forms.
        let (masks, asked) = masks(10 << 20);
        for number in [1, 2, 3, 4, 5, 6, 1, 7, 8, 1, 2] {
            assert!(masks.of(&tool(number), &printing(&[])).await.is_some());
            assert!(masks.kept().bytes <= ROOM);
        }
        let of: Vec<_> = asked.lock().unwrap().iter().map(|(tool, _)| tool.to_string()).collect();
        let wanted = [1, 2, 3, 4, 5, 6, 7, 8, 2].map(|number| tool(number).to_string());
        assert_eq!(of, wanted);
        for number in 1..9 {
            masks.forget(&tool(number));
        }
        assert_eq!(masks.kept().bytes, 0);
    }

    #[tokio::test]
    async fn what_changes_while_it_is_asked_for_is_asked_for_again() {
        let (masks, asked) = (Arc::new(Masks::default()), Arc::new(AtomicUsize::new(0)));
        let (own, asks) = (Arc::downgrade(&masks), asked.clone());
        masks.ask(Arc::new(move |tool, _| {
            if asks.fetch_add(1, Ordering::SeqCst) == 0 {
                own.upgrade().unwrap().forget(&tool);
            }
            Box::pin(std::future::ready(Ok(Some(Masker::default()))))
        }));
        for wanted in [1, 2, 2] {
            assert!(masks.of(&tool(1), &printing(&[])).await.is_some());
            assert_eq!(asked.load(Ordering::SeqCst), wanted);
        }
    }
}
