//! A tool's cached layers: immutable folders that an overlay shows to the next build.
//!
//! `caches/<tool>/<slice>/<buildpack>/<layer>/...` holds one layer each; `caches/<tool>/index.json` lists the slices and
//! is replaced in one step, last. A build that fails changes neither.

use crate::analyze::Before;
use crate::export::Exported;
use crate::folder::Folder;
use crate::{BuildRequest, Inner, fault};
use hythe_cnb::output::SbomFormat;
use hythe_cnb::protocol::{Built, BuiltLayer, Outcome};
use hythe_cnb::{BuildpackId, LayerName, Table};
use hythe_model::{Digest, Fault, ToolName};
use hythe_oci::{
    ApplyOptions, ArchiveFormat, Compression, Fingerprint, LayerDescriptor, LayerSpec, Owner, Ownership, Part,
};
use hythe_sandbox::{Helper, RelPath};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The largest index that is read.
const INDEX_MAX: u64 = 32 << 20;

/// What a tool's cache holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The build image that the layers were made on.
    pub(crate) stack: Digest,
    /// Cached layers.
    pub(crate) slices: Vec<Slice>,
    /// Launch layers as they were when they were written, so that an unchanged one need not be read again.
    pub(crate) known: Vec<Known>,
}

impl Default for Index {
    fn default() -> Self {
        Self { stack: Digest::sha256([0; 32]), slices: Vec::new(), known: Vec::new() }
    }
}

/// One cached layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slice {
    /// Whose.
    pub(crate) buildpack: BuildpackId,
    /// Its name.
    pub(crate) layer: LayerName,
    /// Its folder's name.
    pub(crate) folder: String,
    /// Its metadata.
    pub(crate) metadata: Table,
    /// Its bills of materials.
    pub(crate) sboms: BTreeMap<SbomFormat, String>,
}

/// A launch layer that was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Whose.
    pub(crate) buildpack: BuildpackId,
    /// Its name.
    pub(crate) layer: LayerName,
    /// What its files looked like.
    pub(crate) fingerprint: Fingerprint,
    /// What was written.
    pub(crate) written: LayerDescriptor,
}

fn folder(tool: &ToolName) -> Result<RelPath, Fault> {
    RelPath::new(format!("caches/{tool}")).map_err(fault::platform("name a cache"))
}

fn index_file(tool: &ToolName) -> Result<RelPath, Fault> {
    folder(tool)?.join("index.json").map_err(fault::platform("name a cache"))
}

/// Where a slice lies.
pub(crate) fn slice_folder(tool: &ToolName, slice: &str) -> Result<RelPath, Fault> {
    folder(tool)?.join(slice).map_err(fault::platform("name a cached layer"))
}

/// A tool's index; `None` where there is none, or none that can be read.
pub(crate) async fn read(helper: &Helper, tool: &ToolName) -> Result<Option<Index>, Fault> {
    let file = index_file(tool)?;
    if !helper.exists(&file).await.map_err(fault::platform("look at a cache"))? {
        return Ok(None);
    }
    let bytes = helper.read(&file, INDEX_MAX).await.map_err(fault::platform("read a cache's index"))?;
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Removes a tool's cache.
pub(crate) async fn forget(helper: &Helper, tool: &ToolName) -> Result<(), Fault> {
    helper.remove(&folder(tool)?).await.map_err(fault::platform("remove a cache"))
}

impl Inner {
    /// Keeps the cached layers of a build that went well. A failure costs the next build its cache and nothing else.
    pub(crate) async fn keep(
        &self,
        build: &Folder,
        request: &BuildRequest,
        before: &Before,
        outcome: &Outcome,
        exported: &Exported,
    ) {
        if let Err(fault) = self.try_keep(build, request, before, outcome, exported).await {
            tracing::warn!(tool = %request.tool, %fault, "the layers of a build could not be cached");
        }
    }

    async fn try_keep(
        &self,
        build: &Folder,
        request: &BuildRequest,
        before: &Before,
        outcome: &Outcome,
        exported: &Exported,
    ) -> Result<(), Fault> {
        let helper = &self.parts.helper;
        let mut slices = Vec::new();
        for built in &outcome.buildpacks {
            for (name, layer) in built.layers.iter().filter(|(_, layer)| layer.types.cache && layer.present) {
                let folder = self.keep_layer(build, request, before, built, name).await?;
                slices.push(slice(built, name, layer, folder));
            }
        }
        build.unmount().await?;
        let index = Index { stack: self.base.build_image.clone(), slices, known: exported.known.clone() };
        let bytes = serde_json::to_vec(&index).map_err(fault::platform("write a cache's index"))?;
        let fresh = folder(&request.tool)?.join("index.new").map_err(fault::platform("name a cache"))?;
        helper.write(&fresh, bytes, (0, 0), 0o600).await.map_err(fault::platform("write a cache's index"))?;
        helper
            .rename(&fresh, &index_file(&request.tool)?)
            .await
            .map_err(fault::platform("write a cache's index"))?;
        self.drop_others(request, &index).await
    }

    /// The folder of one layer: the one it came from where nothing in it changed, else a new one.
    async fn keep_layer(
        &self,
        build: &Folder,
        request: &BuildRequest,
        before: &Before,
        built: &Built,
        name: &LayerName,
    ) -> Result<String, Fault> {
        let helper = &self.parts.helper;
        let below = format!("{}/{name}", built.id.dir_name());
        let cached =
            before.index.slices.iter().find(|slice| slice.buildpack == built.id && &slice.layer == name);
        let over_a_cache = !before.slices.is_empty();
        let changed = join(&if over_a_cache { build.changed()? } else { build.layers()? }, &below)?;
        let is_changed = helper.exists(&changed).await.map_err(fault::platform("look at a layer"))?;
        if let (Some(cached), false) = (cached, is_changed) {
            return Ok(cached.folder.clone());
        }
        let fresh = format!("{}-{}-{name}", request.id, built.id.dir_name());
        let target = slice_folder(&request.tool, &fresh)?;
        helper.remove(&target).await.map_err(fault::platform("clear a cached layer"))?;
        let parent = join(&target, &built.id.dir_name())?;
        helper
            .make_dir(&parent, self.base.build_user, 0o755)
            .await
            .map_err(fault::platform("make a cached layer"))?;
        if cached.is_none() {
            // Wholly new, and so nothing of it lies in another slice.
            helper
                .rename(&changed, &join(&target, &below)?)
                .await
                .map_err(fault::platform("keep a layer"))?;
        } else {
            let shown = join(&build.layers()?, &below)?;
            copy(helper, &shown, &below, &target).await?;
        }
        Ok(fresh)
    }

    async fn drop_others(&self, request: &BuildRequest, index: &Index) -> Result<(), Fault> {
        let helper = &self.parts.helper;
        let folder = folder(&request.tool)?;
        let kept: BTreeSet<&str> = index.slices.iter().map(|slice| slice.folder.as_str()).collect();
        for name in helper.list_dir(&folder).await.map_err(fault::platform("list a cache"))? {
            if name != "index.json" && !kept.contains(name.as_str()) {
                helper
                    .remove(&join(&folder, &name)?)
                    .await
                    .map_err(fault::platform("remove an old layer"))?;
            }
        }
        Ok(())
    }
}

fn slice(built: &Built, name: &LayerName, layer: &BuiltLayer, folder: String) -> Slice {
    Slice {
        buildpack: built.id.clone(),
        layer: name.clone(),
        folder,
        metadata: layer.metadata.clone(),
        sboms: layer.sboms.clone(),
    }
}

/// Copies what an overlay shows of a layer, owners and modes included, as an archive between two of the helper's verbs.
async fn copy(helper: &Helper, from: &RelPath, below: &str, to: &RelPath) -> Result<(), Fault> {
    let tree = Part::Tree {
        source: from.as_str().into(),
        target: format!("/{below}"),
        owner: Owner::Keep,
        filter: hythe_oci::Filter::default(),
        whiteouts: false,
    };
    let mut archive = tempfile::tempfile().map_err(fault::platform("keep a changed layer"))?;
    let out = archive.try_clone().map_err(fault::platform("keep a changed layer"))?;
    let packed = helper.pack(LayerSpec::new(vec![tree]), Compression::None, out).await;
    packed.map_err(fault::platform("read a changed layer"))?;
    std::io::Seek::rewind(&mut archive).map_err(fault::platform("keep a changed layer"))?;
    let options = ApplyOptions::files(ArchiveFormat::Tar, Ownership::Archive);
    helper.unpack(archive, to, options).await.map_err(fault::platform("keep a changed layer"))?;
    Ok(())
}

fn join(path: &RelPath, below: &str) -> Result<RelPath, Fault> {
    path.join(below).map_err(fault::platform("name a layer's folder"))
}
