//! Keeps the cached layers of a build that went well.
//!
//! Enter at `Inner::keep`. A layer that did not change stays where it is, a new one moves, a changed one is copied.

use super::{Index, Slice, folder, index_file, settle, slice_folder};
use crate::analyze::Before;
use crate::export::{Exported, layer_of_tree};
use crate::folder::Folder;
use crate::run::LAYERS;
use crate::{BuildRequest, EventSink, Inner, fault, until_cancelled};
use hythe_cnb::LayerName;
use hythe_cnb::protocol::{Built, BuiltLayer, Outcome};
use hythe_layers::boot_id;
use hythe_model::render::size;
use hythe_model::{BuildEvent, Fault, Phase};
use hythe_oci::{
    ApplyOptions, ArchiveFormat, Compression, Filter, Fingerprint, LayerBounds, LayerSpec, Owner, Ownership,
    Part,
};
use hythe_sandbox::{Helper, RelPath};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// Most cached layers of a tool: so many an overlay shows, with room to spare.
const SLICES: usize = 120;

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

/// A layer that may be kept, and what it takes.
struct Candidate<'a> {
    built: &'a Built,
    name: &'a LayerName,
    layer: &'a BuiltLayer,
    bytes: u64,
}

/// The keeping of one build's layers.
struct Keeping<'a> {
    inner: &'a Inner,
    build: &'a Folder,
    request: &'a BuildRequest,
    before: &'a Before,
    events: &'a dyn EventSink,
    cancel: &'a CancellationToken,
    stamp: String,
}

impl Inner {
    /// Keeps the cached layers of a build that went well. A failure costs the next build its cache and nothing else.
    pub(crate) async fn keep(
        &self,
        build: &Folder,
        request: &BuildRequest,
        before: &Before,
        (outcome, exported): (&Outcome, Exported),
        events: &dyn EventSink,
        cancel: &CancellationToken,
    ) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp = format!("{}-{:x}", request.id, now.as_nanos());
        let keeping = Keeping { inner: self, build, request, before, events, cancel, stamp };
        match keeping.keep(outcome, exported).await {
            Err(fault) if !cancel.is_cancelled() => {
                tracing::warn!(tool = %request.tool, %fault, "the layers of a build could not be cached");
            }
            _ => {}
        }
    }
}

impl Keeping<'_> {
    async fn keep(&self, outcome: &Outcome, exported: Exported) -> Result<(), Fault> {
        let index = match self.fill(outcome, exported).await {
            Ok(index) => index,
            Err(fault) => {
                self.drop_fresh().await?;
                return Err(fault);
            }
        };
        let parts = &self.inner.parts;
        let kept = index.slices.iter().map(|slice| slice.folder.as_str()).collect::<BTreeSet<_>>();
        settle(parts.helper.clone(), parts.layers.clone(), self.request.tool.clone(), index.stamp.clone());
        self.drop_where(|name| name != "index.json" && !kept.contains(name)).await
    }

    /// Brings every layer to its place, and writes the index last.
    async fn fill(&self, outcome: &Outcome, exported: Exported) -> Result<Index, Fault> {
        let stores = outcome.buildpacks.iter().filter_map(|b| Some((b.id.clone(), b.store.clone()?)));
        let mut index = Index {
            stamp: self.stamp.clone(),
            boot: boot_id(),
            stack: self.inner.base.build_image.clone(),
            slices: Vec::new(),
            known: exported.known,
            bills: exported.bills,
            stores: stores.collect(),
        };
        let mut moves = Vec::new();
        for Candidate { built, name, layer, bytes } in self.candidates(outcome).await? {
            let fresh = format!("{}-{}", self.stamp, index.slices.len());
            let kept = until_cancelled(self.cancel, self.layer(built, name, fresh)).await?;
            index.slices.push(slice(built, name, layer, (kept.folder(), bytes)));
            let known = index.known.iter_mut().find(|k| k.buildpack == built.id && &k.layer == name);
            match (kept, known) {
                (Kept::Moves { from, folder }, _) => {
                    moves.push((from, join(&self.slice(&folder)?, &below(built, name))?));
                }
                (Kept::Copied { fingerprint, .. }, Some(known)) => known.fingerprint = fingerprint,
                _ => {}
            }
        }
        self.build.unmount().await?;
        for (from, to) in moves {
            self.inner.parts.helper.rename(&from, &to).await.map_err(fault::sandbox("keep a layer"))?;
        }
        self.write(&index).await?;
        Ok(index)
    }

    /// The layers that the cache has room for, in their order.
    async fn candidates<'o>(&self, outcome: &'o Outcome) -> Result<Vec<Candidate<'o>>, Fault> {
        let mut candidates = Vec::new();
        for built in &outcome.buildpacks {
            for (name, layer) in built.layers.iter().filter(|(_, layer)| layer.types.cache && layer.present) {
                let bytes = until_cancelled(self.cancel, self.bytes(built, name)).await?;
                candidates.push(Candidate { built, name, layer, bytes });
            }
        }
        let sizes: Vec<u64> = candidates.iter().map(|candidate| candidate.bytes).collect();
        let limit = self.inner.parts.limits.cache_bytes;
        let dropped = too_large(&sizes, limit);
        let (dropped, kept): (Vec<_>, Vec<_>) =
            candidates.into_iter().enumerate().partition(|(place, _)| dropped.contains(place));
        for (_, candidate) in dropped {
            self.say_dropped(&candidate, limit);
        }
        Ok(kept.into_iter().map(|(_, candidate)| candidate).collect())
    }

    /// What a layer takes; measured only where that is not known.
    async fn bytes(&self, built: &Built, name: &LayerName) -> Result<u64, Fault> {
        match (self.cached(built, name), self.own(built, name).await?) {
            (Some(cached), None) if cached.bytes > 0 => Ok(cached.bytes),
            _ => {
                let shown = join(&self.build.layers()?, &below(built, name))?;
                let usage = self.inner.parts.helper.usage(&shown).await;
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
        let over_a_cache = !self.before.slices.is_empty();
        let changes = if over_a_cache { self.build.changed()? } else { self.build.layers()? };
        let own = join(&changes, &below(built, name))?;
        let is_there = self.inner.parts.helper.exists(&own).await;
        Ok(is_there.map_err(fault::sandbox("look at a layer"))?.then_some(own))
    }

    fn say_dropped(&self, candidate: &Candidate<'_>, limit: u64) {
        let Candidate { built, name, bytes, .. } = candidate;
        let text = format!(
            "cache            {}/{name} is not kept: it takes {}, and a tool's cache has room for {}",
            built.id,
            size(*bytes),
            size(limit)
        );
        self.events.event(BuildEvent::Note { phase: Phase::Image, text, millis: None });
    }

    fn slice(&self, folder: &str) -> Result<RelPath, Fault> {
        slice_folder(&self.request.tool, folder)
    }

    /// Decides on one layer, and copies it where it changed; `fresh` is the folder that it gets where it needs one.
    async fn layer(&self, built: &Built, name: &LayerName, fresh: String) -> Result<Kept, Fault> {
        let helper = &self.inner.parts.helper;
        let (cached, own) = (self.cached(built, name), self.own(built, name).await?);
        let own = match (cached, own) {
            (Some(cached), None) => return Ok(Kept::Stays(cached.folder.clone())),
            (_, Some(own)) => own,
            (None, None) => return Err(fault::platform("keep a layer")("it is not there")),
        };
        let target = self.slice(&fresh)?;
        for dir in [&target, &join(&target, &built.id.dir_name())?] {
            helper
                .make_dir(dir, self.inner.base.build_user, 0o755)
                .await
                .map_err(fault::sandbox("make a cached layer"))?;
        }
        if cached.is_none() {
            // Wholly new, and so nothing of it lies in another slice.
            return Ok(Kept::Moves { from: own, folder: fresh });
        }
        let shown = join(&self.build.layers()?, &below(built, name))?;
        let bounds = self.inner.parts.limits.layer();
        copy(helper, &shown, &below(built, name), &target, bounds).await?;
        let source = join(&target, &below(built, name))?;
        let at = format!("{LAYERS}/{}", below(built, name));
        let spec = layer_of_tree(source.as_str(), &at, self.inner.base.build_user, Filter::default());
        let fingerprint = helper.fingerprint(&spec).await.map_err(fault::sandbox("look at a layer"))?;
        Ok(Kept::Copied { folder: fresh, fingerprint })
    }

    async fn write(&self, index: &Index) -> Result<(), Fault> {
        let helper = &self.inner.parts.helper;
        let bytes = serde_json::to_vec(index).map_err(fault::platform("write a cache's index"))?;
        // Where nothing was cached yet, the folder is not there.
        let dir = folder(&self.request.tool)?;
        helper.make_dir(&dir, (0, 0), 0o755).await.map_err(fault::sandbox("make a cache"))?;
        let file = index_file(&self.request.tool)?;
        helper.write(&file, bytes, (0, 0), 0o600).await.map_err(fault::sandbox("write a cache's index"))
    }

    /// Removes what this build has put there, where it is not to stay.
    async fn drop_fresh(&self) -> Result<(), Fault> {
        self.drop_where(|name| name.starts_with(&self.stamp)).await
    }

    async fn drop_where(&self, goes: impl Fn(&str) -> bool) -> Result<(), Fault> {
        let helper = &self.inner.parts.helper;
        let folder = folder(&self.request.tool)?;
        for name in helper.list_dir(&folder).await.map_err(fault::sandbox("list a cache"))? {
            if goes(&name) {
                let path = join(&folder, &name)?;
                helper.remove(&path).await.map_err(fault::sandbox("remove an old layer"))?;
            }
        }
        Ok(())
    }
}

/// Where a layer lies below a folder of layers.
fn below(built: &Built, name: &LayerName) -> String {
    format!("{}/{name}", built.id.dir_name())
}

/// Which of these do not fit: the largest, until the others do.
fn too_large(sizes: &[u64], limit: u64) -> BTreeSet<usize> {
    let mut places: Vec<usize> = (0..sizes.len()).collect();
    places.sort_by_key(|place| (std::cmp::Reverse(sizes[*place]), *place));
    let mut dropped = BTreeSet::new();
    let mut sum: u128 = sizes.iter().copied().map(u128::from).sum();
    for place in places {
        if sum <= u128::from(limit) && sizes.len() - dropped.len() <= SLICES {
            break;
        }
        sum -= u128::from(sizes[place]);
        dropped.insert(place);
    }
    dropped
}

fn slice(built: &Built, name: &LayerName, layer: &BuiltLayer, (folder, bytes): (&str, u64)) -> Slice {
    Slice {
        buildpack: built.id.clone(),
        layer: name.clone(),
        folder: folder.to_owned(),
        bytes,
        metadata: layer.metadata.clone(),
        sboms: layer.sboms.clone(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_layers_go_until_the_others_fit() {
        let dropped = |sizes: &[u64], limit| too_large(sizes, limit).into_iter().collect::<Vec<_>>();
        assert_eq!(dropped(&[5, 1, 4], 10), [0; 0]);
        assert_eq!(dropped(&[5, 1, 4], 9), [0]);
        assert_eq!(dropped(&[5, 9, 4], 4), [0, 1]);
        assert_eq!(dropped(&[u64::MAX, u64::MAX, 4], 4), [0, 1]);
        assert_eq!(dropped(&[1; SLICES + 2], 1000).len(), 2);
    }
}
