//! Source to image: analyze, detect, restore, run, export.
//!
//! Enter at [`Builder::build`]. Buildpacks run in one sandbox under the lifecycle program; what it reports is
//! untrusted input, read with bounds. Layers are written by the trusted side straight into the content store.
//! This room never hands a credential to the sandbox and never decides what becomes of an image.

mod analyze;
mod base;
mod cache;
mod environment;
mod executor;
mod export;
mod fault;
mod hear;
mod layer;
mod parts;
mod pods;
mod sandbox;
mod told;

pub use executor::Stays;
pub use parts::{BuildLimits, BuildRequest, BuilderParts, EventSink, NetworkSettings, Place};
pub use pods::{BUILDER_REPOSITORY, BuildAccess, PodParts, PodSettings, build_repository};

use analyze::Before;
use base::Base;
use executor::{Executor, Site, Task};
use hythe_model::{Digest, Fault, PublishedImage, ToolName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Turns sources into published images. Cheap to clone; builds of several tools may run at once.
#[derive(Clone)]
pub struct Builder {
    inner: Arc<Inner>,
}

/// A builder, and who builds with it.
struct Inner {
    common: Common,
    executor: Box<dyn Executor>,
    /// Who builds which tool.
    turns: Mutex<HashMap<ToolName, Arc<tokio::sync::Mutex<()>>>>,
}

/// What all builds share, wherever they run.
pub(crate) struct Common {
    parts: BuilderParts,
    base: Base,
}

impl Builder {
    /// A builder of these parts. Reads the builder's definition and its buildpacks, and gets the stack ready where builds run.
    pub async fn new(parts: BuilderParts, place: Place) -> Result<Self, Fault> {
        let base = Base::open(&parts)?;
        let common = Common { parts, base };
        let executor: Box<dyn Executor> = match place {
            Place::Sandboxes { helper, layers } => {
                Box::new(sandbox::Sandboxes::open(&common, helper, layers).await?)
            }
            Place::Pods(pods) => Box::new(pods::Pods::open(&common, *pods)?),
        };
        Ok(Self { inner: Arc::new(Inner { common, executor, turns: Mutex::default() }) })
    }

    /// Builds one source tree and publishes the image in the repository `tools/<tool>`.
    ///
    /// Events are in order. Builds of one tool wait for each other. Cancelling ends the sandbox within two seconds and leaves the tool's cache as it was;
    /// the answer is then the fault `build/cancelled`.
    pub async fn build(
        &self,
        request: BuildRequest,
        events: &dyn EventSink,
        cancel: CancellationToken,
    ) -> Result<PublishedImage, Fault> {
        let turn = self.inner.turn(&request.tool);
        let _turn = until_cancelled(&cancel, async { Ok(turn.lock().await) }).await?;
        let task = Task { common: &self.inner.common, request: &request, events, cancel: &cancel };
        self.inner.build(task).await
    }

    /// Removes what builds left behind that a crash interrupted, but for builds that stay.
    pub async fn sweep(&self, stays: Stays) -> Result<(), Fault> {
        self.inner.executor.sweep(&self.inner.common, stays).await
    }

    /// What builds need of the registry whatever tools there are: the stack's images and the launcher's layer.
    pub fn keeps(&self) -> [Digest; 3] {
        let base = &self.inner.common.base;
        [base.build.digest.clone(), base.run.digest.clone(), base.launcher.blob.digest.clone()]
    }

    /// Drops the cache of a tool, as when the tool is deleted.
    pub async fn forget(&self, tool: &ToolName) -> Result<(), Fault> {
        self.inner.executor.forget(&self.inner.common, tool).await?;
        // Builds may have run in pods before.
        pods::cache::forget(&self.inner.common, tool).await
    }
}

impl Inner {
    async fn build(&self, task: Task<'_>) -> Result<PublishedImage, Fault> {
        let executor = self.executor.as_ref();
        // A build that was refused has left what it wrote, which counts.
        export::expect_room(&self.common, &task.request.tool).await?;
        let mut before = self.common.analyze(executor, task.request, task.events).await?;
        let site = executor.run(task, &mut before).await?;
        let built = finish(task, site.as_ref(), &before).await;
        site.remove().await;
        built
    }

    /// The turn of a tool: two builds of one would use its cache at once.
    fn turn(&self, tool: &ToolName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(tool.clone()).or_default().clone()
    }
}

/// Makes an image of what a build has left, and keeps what the next one gets back.
async fn finish(task: Task<'_>, site: &dyn Site, before: &Before) -> Result<PublishedImage, Fault> {
    let Task { request, cancel, .. } = task;
    if cancel.is_cancelled() {
        return Err(fault::cancelled());
    }
    let (image, index) = export::export(task, site, before).await?;
    let kept = site.keep(before, index).await;
    if cancel.is_cancelled() {
        return Err(fault::cancelled());
    }
    if let Err(fault) = kept {
        tracing::warn!(tool = %request.tool, %fault, "the layers of a build could not be cached");
    }
    Ok(image)
}

/// Does this work, or gives it up when the build is cancelled.
async fn until_cancelled<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(fault::cancelled()),
        done = work => done,
    }
}
