//! Builds in sandboxes of this machine.
//!
//! Enter at [`Sandboxes::open`]. Buildpacks run in one sandbox a build; what they leave is packed inside the helper's namespace,
//! straight into the content store. Cached layers are folders that an overlay shows to the next build.

mod cache;
mod folder;
mod keep;
mod run;

use crate::analyze::Before;
use crate::cache::{Found, Index, Known};
use crate::environment::{APP, LAYERS};
use crate::executor::{Executor, Layer, Site, Stays, Task};
use crate::{Common, fault, until_cancelled};
use async_trait::async_trait;
use folder::Folder;
use hythe_carrier::trees::{COMPRESSION, Room, Tree, parts_of_app, spec};
use hythe_cnb::protocol::Outcome;
use hythe_layers::Layers;
use hythe_model::{Fault, ToolName};
use hythe_oci::{Filter, Fingerprint, LayerDescriptor, LayerSpec};
use hythe_registry::Repository;
use hythe_sandbox::{Helper, RelPath};

/// The sandboxes of this machine.
pub(crate) struct Sandboxes {
    helper: Helper,
    layers: Layers,
    /// Layers of the build image, the topmost first.
    lowers: Vec<RelPath>,
}

impl Sandboxes {
    /// Unpacks the stack's build image.
    pub(crate) async fn open(common: &Common, helper: Helper, layers: Layers) -> Result<Self, Fault> {
        let lowers = layers.unpacked(common.base.build.layers().rev().collect()).await;
        Ok(Self { helper, layers, lowers: lowers.map_err(|error| error.fault())? })
    }
}

#[async_trait]
impl Executor for Sandboxes {
    async fn cached(&self, _common: &Common, tool: &ToolName) -> Result<Found, Fault> {
        let found = cache::read(&self.helper, tool).await?;
        if matches!(found, Found::Useless(..)) {
            cache::clear(&self.helper, tool).await;
        }
        Ok(found)
    }

    async fn run<'a>(&'a self, task: Task<'a>, before: &mut Before) -> Result<Box<dyn Site + 'a>, Fault> {
        let folder = Folder::make(&self.helper, task.request.id).await?;
        let done = match self.lay_out(&folder, task, before).await {
            Ok(()) => self.run_in(&folder, task, before).await,
            Err(fault) => Err(fault),
        };
        match done {
            Ok(outcome) => {
                let room = Room::new(task.common.parts.limits.layer());
                Ok(Box::new(SandboxSite { sandboxes: self, task, folder, outcome, room }))
            }
            Err(fault) => {
                folder.remove().await;
                Err(fault)
            }
        }
    }

    async fn forget(&self, _common: &Common, tool: &ToolName) -> Result<(), Fault> {
        cache::forget(&self.helper, tool).await
    }

    async fn sweep(&self, _common: &Common, stays: Stays) -> Result<(), Fault> {
        folder::sweep(&self.helper, &stays).await
    }
}

/// The folder of a build that went well.
struct SandboxSite<'a> {
    sandboxes: &'a Sandboxes,
    task: Task<'a>,
    folder: Folder,
    outcome: Outcome,
    room: Room,
}

#[async_trait]
impl Site for SandboxSite<'_> {
    fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    async fn layer(&self, before: &Before, tree: &Tree, repository: &Repository) -> Result<Layer, Fault> {
        let spec = self.spec(tree)?;
        let Tree::Layer { buildpack, layer } = tree else {
            let (written, _) = self.pack(spec, tree, repository).await?;
            return Ok(Layer { written, known: None });
        };
        let of = |known: &&Known| &known.buildpack == buildpack && &known.layer == layer;
        let known = before.index.known.iter().find(of);
        if let Some(known) = known
            && self.is_unchanged(known, &spec).await?
        {
            return Ok(Layer { written: known.written.clone(), known: Some(known.clone()) });
        }
        let (written, fingerprint) = self.pack(spec, tree, repository).await?;
        let (buildpack, layer) = (buildpack.clone(), layer.clone());
        let known = Known { buildpack, layer, fingerprint, written: written.clone() };
        Ok(Layer { written, known: Some(known) })
    }

    async fn keep(&self, before: &Before, index: Index) -> Result<(), Fault> {
        keep::keep(self, before, index).await
    }

    async fn remove(&self) {
        self.folder.remove().await;
    }
}

impl SandboxSite<'_> {
    fn spec(&self, tree: &Tree) -> Result<LayerSpec, Fault> {
        let user = self.task.common.base.build_user;
        match tree {
            Tree::Layer { .. } => {
                let below = tree.below();
                let source = self.folder.layers()?.join(&below).map_err(fault::platform("name a layer"))?;
                Ok(spec(source.as_str(), &format!("{LAYERS}/{below}"), user, Filter::default()))
            }
            Tree::App { slice } => {
                let filter = parts_of_app(&self.outcome.slices).into_iter().nth(*slice).unwrap_or_default();
                Ok(spec(self.folder.workspace()?.as_str(), APP, user, filter))
            }
        }
    }

    /// Whether no file of a layer has changed since it was written, and what was written is still there.
    async fn is_unchanged(&self, known: &Known, spec: &LayerSpec) -> Result<bool, Fault> {
        if !self.task.common.parts.content.has(&known.written.blob.digest).unwrap_or(false) {
            return Ok(false);
        }
        let now = self.sandboxes.helper.fingerprint(spec);
        let now = until_cancelled(self.task.cancel, async {
            now.await.map_err(|error| fault::packing("a layer", error))
        });
        Ok(known.fingerprint == now.await?)
    }

    /// Packs a layer inside the helper's namespace, straight into an upload of the content store.
    async fn pack(
        &self,
        spec: LayerSpec,
        tree: &Tree,
        repository: &Repository,
    ) -> Result<(LayerDescriptor, Fingerprint), Fault> {
        let parts = &self.task.common.parts;
        let upload = parts.content.begin().map_err(fault::registry)?;
        let out = upload.file().try_clone().map_err(fault::platform("begin a layer"))?;
        let packing = self.sandboxes.helper.pack(spec, COMPRESSION, self.room.bounds(), out);
        let info = until_cancelled(self.task.cancel, async {
            packing.await.map_err(|error| fault::packing(&tree.to_string(), error))
        })
        .await?;
        self.room.take(&info);
        let (repository, digest, bytes) = (repository.clone(), info.digest.clone(), info.size);
        let commit = move || upload.commit(&repository, &digest, bytes);
        let committed = tokio::task::spawn_blocking(commit).await.map_err(fault::platform("keep a layer"))?;
        committed.map_err(fault::registry)?;
        Ok((LayerDescriptor::of(&info, COMPRESSION), info.fingerprint))
    }
}
