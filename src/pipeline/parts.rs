//! What the story is told with: the handles of the rooms, put together by the program.

use crate::upkeep::Keep;
use crate::{Inner, Platform, queue, turns};
use hythe_auth::KeyRing;
use hythe_build::Builder;
use hythe_events::LogStore;
use hythe_model::Fault;
use hythe_registry::ContentStore;
use hythe_rollout::{RunSettings, Runtime};
use hythe_source::{Repositories, SourceStore};
use hythe_store::Store;
use std::sync::Arc;

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
    /// How instances are run where a tool does not say otherwise.
    pub run: RunSettings,
    /// How much of old work is kept.
    pub keep: Keep,
}

impl Platform {
    /// The platform of these parts, with what a stop left behind put right: refs, builds, releases and instances.
    /// Call [`Platform::run_queue`] next.
    pub async fn open(parts: Parts) -> Result<Self, Fault> {
        let running = queue::Running::new(parts.settings.concurrent_builds);
        let platform = Self { inner: Arc::new(Inner { parts, turns: turns::Turns::default(), running }) };
        platform.parts().builder.sweep().await?;
        platform.mend_refs().await?;
        platform.adopt().await?;
        platform.resume_builds().await?;
        Ok(platform)
    }

    /// Rows, for the fronts' reading.
    pub fn store(&self) -> &Store {
        &self.inner.parts.store
    }

    /// Logs, for the fronts' reading.
    pub fn logs(&self) -> &LogStore {
        &self.inner.parts.logs
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    /// Points every deploy ref to its live commit, where a crash came between the store and the ref.
    async fn mend_refs(&self) -> Result<(), Fault> {
        for tool in self.store().tools().await? {
            self.parts().runtime.declare_tool(&tool.name);
            let Some(deployed) = tool.deployed else { continue };
            let stands = self.reference(&tool.name, &deployed.reference).await?;
            self.point_ref(&tool.name, stands.as_ref(), &deployed).await?;
        }
        Ok(())
    }

    /// Takes back the instances that outlived the server.
    async fn adopt(&self) -> Result<(), Fault> {
        let mut live = Vec::new();
        for release in self.store().live_releases().await? {
            live.push(self.runnable(&release).await?);
        }
        let adopted = self.parts().runtime.adopt(live).await?;
        tracing::info!(
            kept = adopted.kept,
            starting = adopted.starting,
            stopped = adopted.stopped,
            "instances taken back"
        );
        Ok(())
    }
}
