//! What is masked of each tool, whichever server made the release that runs.

use crate::Masker;
use futures::future::BoxFuture;
use hythe_model::{Fault, ToolName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a tool whose values cannot be had is not asked about again.
const PAUSE: Duration = Duration::from_secs(10);

/// Answers what is to be masked of a tool; `None` where there is no such tool.
pub type MaskerOf = Arc<dyn Fn(ToolName) -> BoxFuture<'static, Result<Option<Masker>, Fault>> + Send + Sync>;

/// What is known of a tool.
enum Known {
    /// This, and the number of the newest config that was seen since.
    Masker(Masker, Option<i64>),
    /// That it could not be had at this time.
    Nothing(Instant),
}

/// The maskers of tools.
#[derive(Default)]
pub(super) struct Masks {
    of: OnceLock<MaskerOf>,
    known: Mutex<HashMap<ToolName, Known>>,
}

impl Masks {
    fn known(&self) -> MutexGuard<'_, HashMap<ToolName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ask(&self, masker_of: MaskerOf) {
        let _ = self.of.set(masker_of);
    }

    /// Masks this. Where it can be asked for it is when it is needed: by then it may be more.
    pub(super) fn set(&self, tool: &ToolName, masker: Masker) {
        match self.of.get() {
            Some(_) => self.forget(tool),
            None => self.know(tool, Known::Masker(masker, None)),
        }
    }

    fn know(&self, tool: &ToolName, known: Known) {
        self.known().insert(tool.clone(), known);
    }

    pub(super) fn forget(&self, tool: &ToolName) {
        if self.of.get().is_some() {
            self.known().remove(tool);
        }
    }

    /// Takes note of a tool's newest config: another one than before may hold other values.
    pub(super) fn note(&self, tool: &ToolName, config: i64) {
        let mut known = self.known();
        let changed = match known.get_mut(tool) {
            Some(Known::Masker(_, seen)) => seen.replace(config).is_some_and(|before| before != config),
            _ => false,
        };
        drop(known);
        if changed {
            self.forget(tool);
        }
    }

    /// The masker of a tool; `None` where there is no such tool, or its values cannot be had: nothing of it may be stored then.
    pub(super) async fn of(&self, tool: &ToolName) -> Option<Masker> {
        match self.known().get(tool) {
            Some(Known::Masker(masker, _)) => return Some(masker.clone()),
            Some(Known::Nothing(since)) if since.elapsed() < PAUSE => return None,
            _ => {}
        }
        let Some(masker_of) = self.of.get() else { return Some(Masker::default()) };
        match masker_of(tool.clone()).await {
            Ok(Some(masker)) => {
                self.know(tool, Known::Masker(masker.clone(), None));
                Some(masker)
            }
            Ok(None) => None,
            Err(fault) => {
                tracing::error!(%tool, %fault, "its lines are not stored: what is to be masked is not known");
                self.know(tool, Known::Nothing(Instant::now()));
                None
            }
        }
    }
}
