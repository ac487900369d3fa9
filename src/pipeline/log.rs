//! A build's log, as the stages see it: a sink that never fails and never waits for a reader.

use crate::Platform;
use hythe_build::EventSink;
use hythe_events::LogStore;
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
    /// The log of a build, masking what the tool's newest config holds.
    pub(crate) async fn build_log(&self, build: &Build) -> BuildLog {
        let masker = self.masker(&build.tool, []).await.unwrap_or_default();
        self.logs().mask_build(build.id, masker);
        BuildLog { to: Some((build.id, self.logs().clone())) }
    }
}
