//! What is kept of a tool's builds for the next one, wherever it lies: an index of cached layers and of what else comes back.

use crate::EventSink;
use hythe_cnb::output::{SbomFormat, StoreToml};
use hythe_cnb::protocol::{Built, BuiltLayer, Outcome};
use hythe_cnb::{BuildpackId, LayerName, Table};
use hythe_model::render::size;
use hythe_model::{BuildEvent, Digest, Phase};
use hythe_oci::{Fingerprint, LayerDescriptor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The largest index that is read.
pub(crate) const INDEX_MAX: u64 = 32 << 20;
/// Most cached layers of a tool: so many an overlay shows, with room to spare.
const SLICES: usize = 120;

/// What a tool's cache holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// Names this index among all that the tool ever had.
    #[serde(default)]
    pub(crate) stamp: String,
    /// The machine's start that it was written in.
    #[serde(default)]
    pub(crate) boot: String,
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
            stamp: String::new(),
            boot: String::new(),
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
    /// Where its contents are.
    #[serde(flatten)]
    pub(crate) place: Place,
    /// What it takes there.
    #[serde(default)]
    pub(crate) bytes: u64,
    /// Its metadata.
    pub(crate) metadata: Table,
    /// Its bills of materials.
    pub(crate) sboms: BTreeMap<SbomFormat, String>,
}

/// Where the contents of a cached layer are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// A folder of this name, in the tool's cache on this machine.
    Folder(String),
    /// A blob of the registry.
    Blob(LayerDescriptor),
}

impl Slice {
    pub(crate) fn of(built: &Built, name: &LayerName, layer: &BuiltLayer, place: Place, bytes: u64) -> Self {
        Self {
            buildpack: built.id.clone(),
            layer: name.clone(),
            place,
            bytes,
            metadata: layer.metadata.clone(),
            sboms: layer.sboms.clone(),
        }
    }
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

impl Index {
    /// What a build leaves for the next one, its cached layers not yet among it.
    pub(crate) fn of(stack: Digest, outcome: &Outcome, known: Vec<Known>) -> Self {
        let stores = outcome.buildpacks.iter().filter_map(|b| Some((b.id.clone(), b.store.clone()?)));
        Self { stack, known, bills: Bills::of(outcome), stores: stores.collect(), ..Self::default() }
    }
}

/// What is found in a tool's cache.
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// Layers.
    Index(Index),
    /// What is of no use, and why; the index as far as it can be read.
    Useless(&'static str, Option<Index>),
}

/// Said of a cache that is broken.
pub(crate) const UNREADABLE: &str = "it cannot be read";

/// A layer that may be kept, and what it takes.
pub(crate) struct Candidate<'a> {
    pub(crate) built: &'a Built,
    pub(crate) name: &'a LayerName,
    pub(crate) layer: &'a BuiltLayer,
    pub(crate) bytes: u64,
}

/// The candidates that a cache has room for, in their order; what is dropped is told.
pub(crate) fn that_fit<'a>(
    candidates: Vec<Candidate<'a>>,
    limit: u64,
    events: &dyn EventSink,
) -> Vec<Candidate<'a>> {
    let sizes: Vec<u64> = candidates.iter().map(|candidate| candidate.bytes).collect();
    let dropped = too_large(&sizes, limit);
    let (dropped, kept): (Vec<_>, Vec<_>) =
        candidates.into_iter().enumerate().partition(|(place, _)| dropped.contains(place));
    for (_, Candidate { built, name, bytes, .. }) in dropped {
        let text = format!(
            "cache            {}/{name} is not kept: it takes {}, and a tool's cache has room for {}",
            built.id,
            size(bytes),
            size(limit)
        );
        events.event(BuildEvent::Note { phase: Phase::Image, text, millis: None });
    }
    kept.into_iter().map(|(_, candidate)| candidate).collect()
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
