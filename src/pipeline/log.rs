//! A build's log, as the stages see it: a sink that never fails and never waits for a reader.

use crate::Platform;
use hythe_build::EventSink;
use hythe_events::{LogStore, Masker};
use hythe_model::{BuildEvent, BuildId, Phase};
use hythe_store::Build;
use std::time::Duration;

/// Writes one build's events; or drops them where a release has no build.
pub(crate) struct BuildLog {
    to: Option<(BuildId, LogStore)>,
}

impl BuildLog {
    /// A log of nothing, for releases without a build: their caller hears the outcome.
    pub(crate) fn none() -> Self {
        Self { to: None }
    }

    /// Whether it is a log of anything.
    pub(crate) fn is_kept(&self) -> bool {
        self.to.is_some()
    }

    /// Masks these values in what is written from now on.
    pub(crate) fn mask(&self, masker: Masker) {
        if let Some((id, logs)) = &self.to {
            logs.mask_build(*id, masker);
        }
    }

    /// Writes one event.
    pub(crate) fn push(&self, event: &BuildEvent) {
        let Some((id, logs)) = &self.to else { return };
        if let Err(error) = logs.append(*id, event) {
            tracing::error!(build = %id, %error, "a build's log could not be written");
        }
    }

    /// One line about a phase.
    pub(crate) fn note(&self, phase: Phase, text: impl Into<String>) {
        self.push(&BuildEvent::Note { phase, text: text.into(), millis: None });
    }

    /// One line about a phase that has ended.
    pub(crate) fn timed(&self, phase: Phase, text: impl Into<String>, took: Duration) {
        let millis = u64::try_from(took.as_millis()).ok();
        self.push(&BuildEvent::Note { phase, text: text.into(), millis });
    }

    /// The last event.
    pub(crate) fn end(&self, event: &BuildEvent) {
        debug_assert!(event.is_end());
        self.push(event);
    }
}

impl EventSink for BuildLog {
    fn event(&self, event: BuildEvent) {
        self.push(&event);
    }
}

impl Platform {
    /// The log of a build, for the platform's own words. Before what a tool prints goes there it is [masked](Self::mask_log).
    pub(crate) fn build_log(&self, build: &Build) -> BuildLog {
        BuildLog { to: Some((build.id, self.logs().clone())) }
    }
}
