//! What the story is told with: the handles of the rooms, put together by the program.

use crate::replica::Replica;
use crate::settings::AllowedMount;
use crate::turns::Turns;
use crate::upkeep::Keep;
use crate::{Inner, Platform, copies, images, queue};
use futures::{StreamExt, stream};
use hythe_auth::KeyRing;
use hythe_build::Builder;
use hythe_events::LogStore;
use hythe_model::{Fault, Release, ToolName};
use hythe_objects::Objects;
use hythe_registry::{ContentStore, External};
use hythe_rollout::{RunSettings, Runtime};
use hythe_source::{Repositories, SourceStore};
use hythe_store::{Store, Tool};
use std::collections::HashSet;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Live releases whose rows are read at once.
const AT_ONCE: usize = 8;

/// The rooms below, opened.
pub struct Parts {
    /// Rows.
    pub store: Store,
    /// Where sources, repositories and logs are that several servers share; none where this is the only server.
    pub objects: Option<Arc<dyn Objects>>,
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
    /// Where they are sent to, where nodes pull from another registry.
    pub external: Option<External>,
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
    /// Whether this server runs builds.
    pub builds: bool,
    /// How instances are run where a tool does not say otherwise.
    pub run: RunSettings,
    /// What tools may read.
    pub mounts: Vec<AllowedMount>,
    /// How much of old work is kept.
    pub keep: Keep,
}

impl Platform {
    /// The platform of these parts. Where it is the only server, what a stop left behind is put right: refs, builds, releases and
    /// instances. Where it is one of several, it begins to live among them. Call [`Platform::run_queue`] next.
    pub async fn open(mut parts: Parts) -> Result<Self, Fault> {
        let holder: Arc<str> = name().into();
        parts.store = parts.store.held_by(&holder);
        let replica = parts.objects.as_ref().map(|_| Replica::new(holder.to_string(), parts.store.clone()));
        let turns = replica.clone().map_or_else(Turns::default, Turns::shared);
        let running = Arc::new(queue::Running::new(parts.settings.concurrent_builds));
        let copying = copies::Copying::default();
        let noted = images::Noted::default();
        let masking = tokio::sync::Mutex::default();
        let inner = Inner { parts, holder, replica, copying, turns, running, noted, masking };
        let platform = Self { inner: Arc::new(inner) };
        platform.mask_logs();
        match platform.inner.replica.clone() {
            Some(replica) => platform.begin_to_live(replica).await?,
            None => platform.put_right().await?,
        }
        Ok(platform)
    }

    /// Puts right what a stop left behind.
    async fn put_right(&self) -> Result<(), Fault> {
        self.own_repositories().await?;
        self.take_all_builds().await?;
        self.sweep_builds(|_| false).await?;
        if let Err(fault) = self.mend_tools().await {
            tracing::error!(%fault, "not every tool could be mended; the next start tries again");
        }
        self.mend_refs().await?;
        self.parts().runtime.lead(CancellationToken::new());
        self.adopt().await?;
        self.mend_logs().await?;
        self.resume_builds().await
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

    /// Finishes what a stop cut in half between a tool's row and its repository: its removal, where that is noted, or its making.
    /// One tool's trouble is not another's.
    pub(crate) async fn mend_tools(&self) -> Result<(), Fault> {
        let leaving: HashSet<ToolName> = self.store().leaving_tools().await?.into_iter().collect();
        let mut mended = Ok(());
        for tool in self.store().tools().await? {
            if let Err(fault) = self.mend_tool(&tool.name, leaving.contains(&tool.name)).await {
                tracing::error!(tool = %tool.name, %fault, "the tool could not be mended");
                mended = Err(fault);
            }
        }
        mended
    }

    async fn mend_tool(&self, tool: &ToolName, is_leaving: bool) -> Result<(), Fault> {
        if !is_leaving && self.has_repository(tool).await? {
            return Ok(());
        }
        // Whoever has the turn is at it.
        let Some(_turn) = self.inner.turns.try_take(tool).await? else { return Ok(()) };
        if is_leaving {
            // A tool of the same name may have been made since.
            if self.store().leaving_tools().await?.contains(tool) {
                tracing::warn!(%tool, "the tool is removed: its removal was cut off");
                self.remove_tool(tool).await?;
            }
            return Ok(());
        }
        if self.parts().objects.is_none() {
            if self.store().repository_version(tool).await?.is_some() {
                tracing::error!(%tool, "the tool's repository is among the objects that several servers shared");
                return Ok(());
            }
            // Rows may be elsewhere, and this another data folder than theirs.
            if !self.store().builds(tool, 1).await?.is_empty() {
                tracing::error!(%tool, "the tool was built, and its repository is not in this data folder");
                return Ok(());
            }
        }
        tracing::warn!(%tool, "the tool's repository is made: its making was cut off");
        self.make_repository(tool).await
    }

    /// Makes what was a copy of what several servers shared this server's own: it goes on from there alone.
    async fn own_repositories(&self) -> Result<(), Fault> {
        for tool in self.parts().repositories.list().map_err(|error| error.fault())? {
            self.in_repository(&tool, Repositories::own).await?;
        }
        Ok(())
    }

    /// Points every deploy ref to its live commit, where a crash came between the store and the ref.
    async fn mend_refs(&self) -> Result<(), Fault> {
        let mended = stream::iter(self.store().tools().await?).for_each_concurrent(AT_ONCE, async |tool| {
            self.parts().runtime.declare_tool(&tool.name);
            if let Err(fault) = self.mend_ref(&tool).await {
                tracing::error!(tool = %tool.name, %fault, "the deploy ref could not be mended");
            }
        });
        mended.await;
        Ok(())
    }

    /// Points a tool's deploy ref to its live commit.
    pub(crate) async fn mend_ref(&self, tool: &Tool) -> Result<(), Fault> {
        let Some(deployed) = &tool.deployed else { return Ok(()) };
        let stands = self.reference(&tool.name, &deployed.reference).await?;
        self.point_ref(&tool.name, stands.as_ref(), deployed).await
    }

    /// Takes back the instances that outlived the server. One tool's trouble is not another's.
    pub(crate) async fn adopt(&self) -> Result<(), Fault> {
        let told = |release: &Release, fault: &Fault| {
            tracing::error!(tool = %release.tool, release = %release.number, %fault, "a live release cannot run");
        };
        let opened = stream::iter(self.store().live_releases().await?).map(async |release| {
            self.runnable(&release).await.inspect_err(|fault| told(&release, fault)).ok()
        });
        let live = opened.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
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

/// What this program is called among others: its machine, its process and when it began.
fn name() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let begun = jiff::Timestamp::now().as_microsecond();
    format!("hythed-{}-{}-{begun}", machine.trim(), std::process::id())
}
