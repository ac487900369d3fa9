//! Source to image: analyze, detect, restore, run, export.
//!
//! Enter at [`Builder::build`]. Buildpacks run in one sandbox under the lifecycle program; what it reports is
//! untrusted input, read with bounds. Layers are written by the trusted side straight into the content store.
//! This room never hands a credential to the sandbox and never decides what becomes of an image.

mod analyze;
mod base;
mod cache;
mod export;
mod fault;
mod folder;
mod layer;
mod parts;
mod run;
mod told;

pub use parts::{BuildLimits, BuildRequest, BuilderParts, EventSink, NetworkSettings};

use base::Base;
use folder::Folder;
use hythe_model::{Digest, Fault, PublishedImage, ToolName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Turns sources into published images. Cheap to clone; builds of several tools may run at once.
#[derive(Clone)]
pub struct Builder {
    inner: Arc<Inner>,
}

/// What all builds share.
struct Inner {
    parts: BuilderParts,
    base: Base,
    /// Who builds which tool.
    turns: Mutex<HashMap<ToolName, Arc<tokio::sync::Mutex<()>>>>,
}

impl Builder {
    /// A builder of these parts. Reads the builder's definition and its buildpacks, and unpacks the stack.
    pub async fn new(parts: BuilderParts) -> Result<Self, Fault> {
        let base = Base::open(&parts).await?;
        Ok(Self { inner: Arc::new(Inner { parts, base, turns: Mutex::default() }) })
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
        let folder = Folder::make(&self.inner.parts.helper, request.id).await?;
        let built = self.inner.build_in(&folder, &request, events, &cancel).await;
        folder.remove().await;
        built
    }

    /// Removes what builds left behind that a crash interrupted. Call it once, before the first build.
    pub async fn sweep(&self) -> Result<(), Fault> {
        folder::sweep(&self.inner.parts.helper).await
    }

    /// What builds need of the registry whatever tools there are: the stack's images and the launcher's layer.
    pub fn keeps(&self) -> [Digest; 3] {
        let base = &self.inner.base;
        [base.build_image.clone(), base.run.digest.clone(), base.launcher.blob.digest.clone()]
    }

    /// Drops the cache of a tool, as when the tool is deleted.
    pub async fn forget(&self, tool: &ToolName) -> Result<(), Fault> {
        cache::forget(&self.inner.parts.helper, tool).await
    }
}

impl Inner {
    async fn build_in(
        &self,
        folder: &Folder,
        request: &BuildRequest,
        events: &dyn EventSink,
        cancel: &CancellationToken,
    ) -> Result<PublishedImage, Fault> {
        let mut before = self.analyze(request, events).await?;
        self.lay_out(folder, request, &mut before, events, cancel).await?;
        let outcome = self.run(folder, request, &before, events, cancel).await?;
        if cancel.is_cancelled() {
            return Err(fault::cancelled());
        }
        let (image, exported) = self.export(folder, request, &before, &outcome, events, cancel).await?;
        self.keep(folder, request, &before, (&outcome, exported), events, cancel).await;
        if cancel.is_cancelled() { Err(fault::cancelled()) } else { Ok(image) }
    }

    /// The turn of a tool: two builds of one would use its cache at once.
    fn turn(&self, tool: &ToolName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(tool.clone()).or_default().clone()
    }
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
