//! What the story is told with: the handles of the rooms, put together by the program.

use crate::Platform;
use hythe_auth::KeyRing;
use hythe_build::Builder;
use hythe_events::LogStore;
use hythe_registry::ContentStore;
use hythe_rollout::Runtime;
use hythe_source::{Repositories, SourceStore};
use hythe_store::Store;
use std::sync::Arc;
use std::time::Duration;

/// The rooms below, opened.
pub struct Parts {
    /// Rows.
    pub store: Store,
    /// Logs.
    pub logs: LogStore,
    /// Sealing of config values.
    pub keys: KeyRing,
    /// Git repositories.
    pub repositories: Repositories,
    /// Source trees.
    pub sources: SourceStore,
    /// Source to image.
    pub builder: Builder,
    /// Image to instances.
    pub runtime: Arc<dyn Runtime>,
    /// Images.
    pub content: ContentStore,
    /// What the operator chose.
    pub settings: Settings,
}

/// What the operator chose and the story needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tools answer at `<tool>.<domain>`.
    pub domain: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Port shown in URLs; `None` where it is the scheme's own.
    pub port: Option<u16>,
    /// Builds that run at once.
    pub concurrent_builds: usize,
    /// How long a rollout may take to get ready.
    pub readiness_timeout: Duration,
    /// How long an instance may take to stop.
    pub grace: Duration,
}

impl Platform {
    /// Rows, for the fronts' reading.
    pub fn store(&self) -> &Store {
        &self.inner.parts.store
    }

    /// Logs, for the fronts' reading.
    pub fn logs(&self) -> &LogStore {
        &self.inner.parts.logs
    }
}
