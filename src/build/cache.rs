//! A tool's cached layers: immutable folders that an overlay shows to the next build.
//!
//! `caches/<tool>/<slice>/<buildpack>/<layer>/...` holds one layer each; `caches/<tool>/index.json` lists the slices and
//! is replaced in one step, last. A build that fails changes neither.

use crate::analyze::Before;
use crate::export::{Exported, layer_of_tree};
use crate::folder::Folder;
use crate::run::LAYERS;
use crate::{BuildRequest, Inner, fault};
use hythe_cnb::output::{SbomFormat, StoreToml};
use hythe_cnb::protocol::{Built, BuiltLayer, Outcome};
use hythe_cnb::{BuildpackId, LayerName, Table};
use hythe_model::{Digest, Fault, ToolName};
use hythe_oci::{
    ApplyOptions, ArchiveFormat, Compression, Filter, Fingerprint, LayerDescriptor, LayerSpec, Owner,
    Ownership, Part,
};
use hythe_sandbox::{Helper, RelPath};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;

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
    /// Bills of materials of launch layers that are not cached.
    #[serde(default)]
    pub(crate) bills: Vec<Bills>,
    /// What buildpacks keep apart from layers.
    #[serde(default)]
    pub(crate) stores: BTreeMap<BuildpackId, StoreToml>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            stack: Digest::sha256([0; 32]),
            slices: Vec::new(),
            known: Vec::new(),
            bills: Vec::new(),
            stores: BTreeMap::new(),
        }
    }
}

/// Bills of materials of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bills {
    /// Whose.
    pub(crate) buildpack: BuildpackId,
    /// Its name.
    pub(crate) layer: LayerName,
    /// Their texts.
    pub(crate) sboms: BTreeMap<SbomFormat, String>,
}

impl Bills {
    /// Those of the layers that only the image has.
    pub(crate) fn of(outcome: &Outcome) -> Vec<Self> {
        let mut found = Vec::new();
        for built in &outcome.buildpacks {
            for (layer, one) in &built.layers {
                if one.types.launch && !one.types.cache && !one.sboms.is_empty() {
                    let (buildpack, layer) = (built.id.clone(), layer.clone());
                    found.push(Self { buildpack, layer, sboms: one.sboms.clone() });
                }
            }
        }
        found
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

/// What becomes of one cached layer.
enum Kept {
    /// Nothing in it changed: it stays where it is.
    Stays(String),
    /// It is new: it moves to its folder, once nothing is mounted over it.
    Moves { from: RelPath, folder: String },
    /// It changed: what the overlay shows of it was copied, and looks different now.
    Copied { folder: String, fingerprint: Fingerprint },
}

impl Kept {
    fn folder(&self) -> &str {
        match self {
            Self::Stays(folder) | Self::Moves { folder, .. } | Self::Copied { folder, .. } => folder,
        }
    }
}

/// The keeping of one build's layers.
struct Keeping<'a> {
    inner: &'a Inner,
    build: &'a Folder,
    request: &'a BuildRequest,
    before: &'a Before,
}

impl Inner {
    /// Keeps the cached layers of a build that went well. A failure costs the next build its cache and nothing else.
    pub(crate) async fn keep(
        &self,
        build: &Folder,
        request: &BuildRequest,
        before: &Before,
        outcome: &Outcome,
        exported: Exported,
    ) {
        let keeping = Keeping { inner: self, build, request, before };
        if let Err(fault) = keeping.keep(outcome, exported).await {
            tracing::warn!(tool = %request.tool, %fault, "the layers of a build could not be cached");
        }
    }
}

impl Keeping<'_> {
    async fn keep(&self, outcome: &Outcome, exported: Exported) -> Result<(), Fault> {
        let mut index = Index {
            stack: self.inner.base.build_image.clone(),
            slices: Vec::new(),
            known: exported.known,
            bills: exported.bills,
            stores: outcome
                .buildpacks
                .iter()
                .filter_map(|b| Some((b.id.clone(), b.store.clone()?)))
                .collect(),
        };
        let mut moves = Vec::new();
        for built in &outcome.buildpacks {
            for (name, layer) in built.layers.iter().filter(|(_, layer)| layer.types.cache && layer.present) {
                let folder = format!("{}-{}", self.request.id, index.slices.len());
                let kept = self.layer(built, name, folder).await?;
                index.slices.push(slice(built, name, layer, kept.folder()));
                let known = index.known.iter_mut().find(|k| k.buildpack == built.id && &k.layer == name);
                match (kept, known) {
                    (Kept::Moves { from, folder }, _) => {
                        moves.push((from, join(&self.slice(&folder)?, &below(built, name))?));
                    }
                    (Kept::Copied { fingerprint, .. }, Some(known)) => known.fingerprint = fingerprint,
                    _ => {}
                }
            }
        }
        self.build.unmount().await?;
        for (from, to) in moves {
            self.inner.parts.helper.rename(&from, &to).await.map_err(fault::platform("keep a layer"))?;
        }
        self.write(&index).await?;
        self.drop_others(&index).await
    }

    fn slice(&self, folder: &str) -> Result<RelPath, Fault> {
        slice_folder(&self.request.tool, folder)
    }

    /// Decides on one layer, and copies it where it changed; `fresh` is the folder that it gets where it needs one.
    async fn layer(&self, built: &Built, name: &LayerName, fresh: String) -> Result<Kept, Fault> {
        let helper = &self.inner.parts.helper;
        let of = |slice: &&Slice| slice.buildpack == built.id && &slice.layer == name;
        let cached = self.before.index.slices.iter().find(of);
        let over_a_cache = !self.before.slices.is_empty();
        let changes = if over_a_cache { self.build.changed()? } else { self.build.layers()? };
        let own = join(&changes, &below(built, name))?;
        let is_changed = helper.exists(&own).await.map_err(fault::platform("look at a layer"))?;
        if let (Some(cached), false) = (cached, is_changed) {
            return Ok(Kept::Stays(cached.folder.clone()));
        }
        let target = self.slice(&fresh)?;
        let making = fault::platform("make a cached layer");
        helper.remove(&target).await.map_err(making)?;
        for dir in [&target, &join(&target, &built.id.dir_name())?] {
            helper
                .make_dir(dir, self.inner.base.build_user, 0o755)
                .await
                .map_err(fault::platform("make a cached layer"))?;
        }
        if cached.is_none() {
            // Wholly new, and so nothing of it lies in another slice.
            return Ok(Kept::Moves { from: own, folder: fresh });
        }
        let shown = join(&self.build.layers()?, &below(built, name))?;
        copy(helper, &shown, &below(built, name), &target).await?;
        let source = join(&target, &below(built, name))?;
        let at = format!("{LAYERS}/{}", below(built, name));
        let spec = layer_of_tree(source.as_str(), &at, self.inner.base.build_user, Filter::default());
        let fingerprint = helper.fingerprint(&spec).await.map_err(fault::platform("look at a layer"))?;
        Ok(Kept::Copied { folder: fresh, fingerprint })
    }

    async fn write(&self, index: &Index) -> Result<(), Fault> {
        let helper = &self.inner.parts.helper;
        let bytes = serde_json::to_vec(index).map_err(fault::platform("write a cache's index"))?;
        // Where nothing was cached yet, the folder is not there.
        let dir = folder(&self.request.tool)?;
        helper.make_dir(&dir, (0, 0), 0o755).await.map_err(fault::platform("make a cache"))?;
        let file = index_file(&self.request.tool)?;
        helper.write(&file, bytes, (0, 0), 0o600).await.map_err(fault::platform("write a cache's index"))
    }

    async fn drop_others(&self, index: &Index) -> Result<(), Fault> {
        let helper = &self.inner.parts.helper;
        let folder = folder(&self.request.tool)?;
        let kept: BTreeSet<&str> = index.slices.iter().map(|slice| slice.folder.as_str()).collect();
        for name in helper.list_dir(&folder).await.map_err(fault::platform("list a cache"))? {
            if name != "index.json" && !kept.contains(name.as_str()) {
                let path = join(&folder, &name)?;
                helper.remove(&path).await.map_err(fault::platform("remove an old layer"))?;
            }
        }
        Ok(())
    }
}

/// Where a layer lies below a folder of layers.
fn below(built: &Built, name: &LayerName) -> String {
    format!("{}/{name}", built.id.dir_name())
}

fn slice(built: &Built, name: &LayerName, layer: &BuiltLayer, folder: &str) -> Slice {
    Slice {
        buildpack: built.id.clone(),
        layer: name.clone(),
        folder: folder.to_owned(),
        metadata: layer.metadata.clone(),
        sboms: layer.sboms.clone(),
    }
}

/// Copies what an overlay shows of a layer, owners and modes included: an archive, packed and unpacked at once.
async fn copy(helper: &Helper, from: &RelPath, below: &str, to: &RelPath) -> Result<(), Fault> {
    let tree = Part::Tree {
        source: from.as_str().into(),
        target: format!("/{below}"),
        owner: Owner::Keep,
        filter: Filter::default(),
        whiteouts: false,
    };
    let (reader, writer) = std::io::pipe().map_err(fault::platform("open a pipe"))?;
    let (reader, writer) = (File::from(OwnedFd::from(reader)), File::from(OwnedFd::from(writer)));
    let options = ApplyOptions::files(ArchiveFormat::Tar, Ownership::Archive);
    let packing = helper.pack(LayerSpec::new(vec![tree]), Compression::None, writer);
    let (packed, unpacked) = tokio::join!(packing, helper.unpack(reader, to, options));
    packed.map_err(fault::platform("read a changed layer"))?;
    unpacked.map_err(fault::platform("keep a changed layer"))?;
    Ok(())
}

fn join(path: &RelPath, below: &str) -> Result<RelPath, Fault> {
    path.join(below).map_err(fault::platform("name a layer's folder"))
}
