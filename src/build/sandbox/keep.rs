//! Keeps the cached layers of a build that went well.
//!
//! Enter at [`keep`]. A layer that did not change stays where it is, a new one moves, a changed one is copied.

use super::SandboxSite;
use super::cache::{folder, index_file, settle, slice_folder};
use crate::analyze::Before;
use crate::cache::{Candidate, Index, Place, Slice, that_fit};
use crate::environment::LAYERS;
use crate::{fault, until_cancelled};
use hythe_carrier::trees::spec;
use hythe_cnb::LayerName;
use hythe_cnb::protocol::Built;
use hythe_layers::boot_id;
use hythe_model::Fault;
use hythe_oci::{
    ApplyOptions, ArchiveFormat, Compression, Filter, Fingerprint, LayerBounds, LayerSpec, Owner, Ownership,
    Part,
};
use hythe_sandbox::{Helper, RelPath};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

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
    site: &'a SandboxSite<'a>,
    before: &'a Before,
    stamp: String,
}

/// Keeps the cached layers of a build that went well.
pub(crate) async fn keep(site: &SandboxSite<'_>, before: &Before, index: Index) -> Result<(), Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let stamp = format!("{}-{:x}", site.task.request.id, now.as_nanos());
    Keeping { site, before, stamp }.keep(index).await
}

impl Keeping<'_> {
    async fn keep(&self, index: Index) -> Result<(), Fault> {
        let index = match self.fill(index).await {
            Ok(index) => index,
            Err(fault) => {
                self.drop_fresh().await?;
                return Err(fault);
            }
        };
        let kept = index.slices.iter().filter_map(folder_of).collect::<BTreeSet<_>>();
        let SandboxSite { sandboxes, task, .. } = self.site;
        let tool = task.request.tool.clone();
        settle(sandboxes.helper.clone(), sandboxes.layers.clone(), tool, index.stamp.clone());
        self.drop_where(|name| name != "index.json" && !kept.contains(name)).await
    }

    /// Brings every layer to its place, and writes the index last.
    async fn fill(&self, mut index: Index) -> Result<Index, Fault> {
        index.stamp.clone_from(&self.stamp);
        index.boot = boot_id();
        let mut moves = Vec::new();
        for Candidate { built, name, layer, bytes } in self.candidates().await? {
            let fresh = format!("{}-{}", self.stamp, index.slices.len());
            let kept = until_cancelled(self.site.task.cancel, self.layer(built, name, fresh)).await?;
            index.slices.push(Slice::of(built, name, layer, Place::Folder(kept.folder().to_owned()), bytes));
            let known = index.known.iter_mut().find(|k| k.buildpack == built.id && &k.layer == name);
            match (kept, known) {
                (Kept::Moves { from, folder }, _) => {
                    moves.push((from, join(&self.slice(&folder)?, &below(built, name))?));
                }
                (Kept::Copied { fingerprint, .. }, Some(known)) => known.fingerprint = fingerprint,
                _ => {}
            }
        }
        self.site.folder.unmount().await?;
        for (from, to) in moves {
            self.site.sandboxes.helper.rename(&from, &to).await.map_err(fault::sandbox("keep a layer"))?;
        }
        self.write(&index).await?;
        Ok(index)
    }

    /// The layers that the cache has room for, in their order.
    async fn candidates(&self) -> Result<Vec<Candidate<'_>>, Fault> {
        let SandboxSite { task, outcome, .. } = self.site;
        let mut candidates = Vec::new();
        for built in &outcome.buildpacks {
            for (name, layer) in built.layers.iter().filter(|(_, layer)| layer.types.cache && layer.present) {
                let bytes = until_cancelled(task.cancel, self.bytes(built, name)).await?;
                candidates.push(Candidate { built, name, layer, bytes });
            }
        }
        Ok(that_fit(candidates, task.common.parts.limits.cache_bytes, task.events))
    }

    /// What a layer takes; measured only where that is not known.
    async fn bytes(&self, built: &Built, name: &LayerName) -> Result<u64, Fault> {
        match (self.cached(built, name), self.own(built, name).await?) {
            (Some(cached), None) if cached.bytes > 0 => Ok(cached.bytes),
            _ => {
                let shown = join(&self.site.folder.layers()?, &below(built, name))?;
                let usage = self.site.sandboxes.helper.usage(&shown).await;
                Ok(usage.map_err(fault::sandbox("measure a layer"))?.bytes)
            }
        }
    }

    fn cached(&self, built: &Built, name: &LayerName) -> Option<&Slice> {
        let of = |slice: &&Slice| slice.buildpack == built.id && &slice.layer == name;
        self.before.index.slices.iter().find(of)
    }

    /// Where the build's own files of a layer lie; `None` where it has left the cached one as it was.
    async fn own(&self, built: &Built, name: &LayerName) -> Result<Option<RelPath>, Fault> {
        let over_a_cache = !self.before.index.slices.is_empty();
        let changes = if over_a_cache { self.site.folder.changed()? } else { self.site.folder.layers()? };
        let own = join(&changes, &below(built, name))?;
        let is_there = self.site.sandboxes.helper.exists(&own).await;
        Ok(is_there.map_err(fault::sandbox("look at a layer"))?.then_some(own))
    }

    fn slice(&self, folder: &str) -> Result<RelPath, Fault> {
        slice_folder(&self.site.task.request.tool, folder)
    }

    /// Decides on one layer, and copies it where it changed; `fresh` is the folder that it gets where it needs one.
    async fn layer(&self, built: &Built, name: &LayerName, fresh: String) -> Result<Kept, Fault> {
        let helper = &self.site.sandboxes.helper;
        let (cached, own) = (self.cached(built, name), self.own(built, name).await?);
        let own = match (cached, own) {
            (Some(cached), None) => return Ok(Kept::Stays(folder_of(cached).unwrap_or_default().to_owned())),
            (_, Some(own)) => own,
            (None, None) => return Err(fault::platform("keep a layer")("it is not there")),
        };
        let target = self.slice(&fresh)?;
        for dir in [&target, &join(&target, &built.id.dir_name())?] {
            helper
                .make_dir(dir, self.site.task.common.base.build_user, 0o755)
                .await
                .map_err(fault::sandbox("make a cached layer"))?;
        }
        if cached.is_none() {
            // Wholly new, and so nothing of it lies in another slice.
            return Ok(Kept::Moves { from: own, folder: fresh });
        }
        let shown = join(&self.site.folder.layers()?, &below(built, name))?;
        let bounds = self.site.task.common.parts.limits.layer();
        copy(helper, &shown, &below(built, name), &target, bounds).await?;
        let source = join(&target, &below(built, name))?;
        let at = format!("{LAYERS}/{}", below(built, name));
        let spec = spec(source.as_str(), &at, self.site.task.common.base.build_user, Filter::default());
        let fingerprint = helper.fingerprint(&spec).await.map_err(fault::sandbox("look at a layer"))?;
        Ok(Kept::Copied { folder: fresh, fingerprint })
    }

    async fn write(&self, index: &Index) -> Result<(), Fault> {
        let helper = &self.site.sandboxes.helper;
        let bytes = serde_json::to_vec(index).map_err(fault::platform("write a cache's index"))?;
        // Where nothing was cached yet, the folder is not there.
        let dir = folder(&self.site.task.request.tool)?;
        helper.make_dir(&dir, (0, 0), 0o755).await.map_err(fault::sandbox("make a cache"))?;
        let file = index_file(&self.site.task.request.tool)?;
        helper.write(&file, bytes, (0, 0), 0o600).await.map_err(fault::sandbox("write a cache's index"))
    }

    /// Removes what this build has put there, where it is not to stay.
    async fn drop_fresh(&self) -> Result<(), Fault> {
        self.drop_where(|name| name.starts_with(&self.stamp)).await
    }

    async fn drop_where(&self, goes: impl Fn(&str) -> bool) -> Result<(), Fault> {
        let helper = &self.site.sandboxes.helper;
        let folder = folder(&self.site.task.request.tool)?;
        for name in helper.list_dir(&folder).await.map_err(fault::sandbox("list a cache"))? {
            if goes(&name) {
                let path = join(&folder, &name)?;
                helper.remove(&path).await.map_err(fault::sandbox("remove an old layer"))?;
            }
        }
        Ok(())
    }
}

/// The folder of a layer that is cached here.
pub(crate) fn folder_of(slice: &Slice) -> Option<&str> {
    match &slice.place {
        Place::Folder(folder) => Some(folder),
        Place::Blob(_) => None,
    }
}

/// Where a layer lies below a folder of layers.
fn below(built: &Built, name: &LayerName) -> String {
    format!("{}/{name}", built.id.dir_name())
}

/// Copies what an overlay shows of a layer, owners and modes included: an archive, packed and unpacked at once.
async fn copy(
    helper: &Helper,
    from: &RelPath,
    below: &str,
    to: &RelPath,
    bounds: LayerBounds,
) -> Result<(), Fault> {
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
    let packing = helper.pack(LayerSpec::new(vec![tree]), Compression::None, bounds, writer);
    let (packed, unpacked) = tokio::join!(packing, helper.unpack(reader, to, options));
    packed.map_err(fault::sandbox("read a changed layer"))?;
    unpacked.map_err(fault::sandbox("keep a changed layer"))?;
    Ok(())
}

fn join(path: &RelPath, below: &str) -> Result<RelPath, Fault> {
    path.join(below).map_err(fault::platform("name a layer's folder"))
}
