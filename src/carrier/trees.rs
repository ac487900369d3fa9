//! The trees that a build leaves, each to become a layer: those of buildpacks, and the app's.

use crate::places::{LAYERS, WORKSPACE};
use hythe_cnb::launch::Slice;
use hythe_cnb::protocol::Outcome;
use hythe_cnb::{BuildpackId, LayerName};
use hythe_oci::{Compression, Filter, LayerBounds, LayerInfo, LayerSpec, Owner, Part};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// How layers are compressed: quick, and small enough.
pub const COMPRESSION: Compression = Compression::Gzip { level: 1 };
/// Most slices of the app.
const SLICES: usize = 100;
/// Most patterns of all slices: each file of the app is held against every one.
const PATTERNS: usize = 1000;
/// Most layers of an image, the run image's among them.
const LAYERS_MAX: usize = 120;
/// The platform's own layers: bills of materials, launcher, config, process types.
const OWN: usize = 4;
/// Most layers that are cached and not in the image.
const OTHERS_MAX: usize = 500;

/// What an entry takes in an archive besides its content.
const HEADER: u64 = 512;

/// Bytes of files that the trees of one build may still have, all together.
#[derive(Debug)]
pub struct Room {
    bounds: LayerBounds,
    left: AtomicU64,
}

impl Room {
    /// All of it.
    pub fn new(bounds: LayerBounds) -> Self {
        Self { bounds, left: AtomicU64::new(bounds.max_bytes) }
    }

    /// How far the next tree may go.
    pub fn bounds(&self) -> LayerBounds {
        LayerBounds { max_bytes: self.left.load(Ordering::Relaxed), ..self.bounds }
    }

    /// A tree was packed.
    pub fn take(&self, packed: &LayerInfo) {
        let content = packed.uncompressed.saturating_sub(packed.files * HEADER);
        let left = |left: u64| Some(left.saturating_sub(content));
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }
}

/// A tree of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Tree {
    /// A buildpack's layer.
    Layer {
        /// Whose.
        buildpack: BuildpackId,
        /// Its name.
        layer: LayerName,
    },
    /// A part of the app; the last one is what no slice took.
    App {
        /// Its place among them, from 0.
        slice: usize,
    },
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer { buildpack, layer } => write!(f, "the layer {buildpack}:{layer}"),
            Self::App { .. } => f.write_str("the app"),
        }
    }
}

impl Tree {
    /// Where it lies: below the folder of layers, or the app's own.
    pub fn below(&self) -> String {
        match self {
            Self::Layer { buildpack, layer } => format!("{}/{layer}", buildpack.dir_name()),
            Self::App { .. } => String::new(),
        }
    }
}

/// What a build has too many of for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// In words, as in `slices`.
    pub what: &'static str,
    /// How many there are.
    pub count: usize,
    /// How many there may be.
    pub most: usize,
}

/// Counts what would be written, before anything is; `below` layers are the run image's.
pub fn too_many(outcome: &Outcome, below: usize) -> Option<TooMany> {
    let slices = &outcome.slices;
    let patterns = slices.iter().map(|slice| slice.paths.len()).sum();
    let all = || outcome.buildpacks.iter().flat_map(|built| built.layers.values());
    let launch = all().filter(|layer| layer.types.launch).count();
    let other = all().filter(|layer| layer.types.cache && !layer.types.launch).count();
    let counts = [
        ("slices", slices.len(), SLICES),
        ("patterns of slices", patterns, PATTERNS),
        ("layers", below + launch + slices.len() + 1 + OWN, LAYERS_MAX),
        ("layers that are for no image", other, OTHERS_MAX),
    ];
    let over = counts.into_iter().find(|(_, count, most)| count > most);
    over.map(|(what, count, most)| TooMany { what, count, most })
}

/// What each part of the app takes, in order: the slices, and last the rest.
pub fn parts_of_app(slices: &[Slice]) -> Vec<Filter> {
    let mut taken: Vec<String> = Vec::new();
    let mut filters = Vec::new();
    for slice in slices {
        filters.push(Filter { include: slice.paths.clone(), exclude: taken.clone() });
        taken.extend(slice.paths.iter().cloned());
    }
    filters.push(Filter { include: Vec::new(), exclude: taken });
    filters
}

/// A folder as a layer: entries belong to the build's user, parents keep their mode and owner.
pub fn spec(source: impl AsRef<Path>, target: &str, (uid, gid): (u32, u32), filter: Filter) -> LayerSpec {
    let source = source.as_ref();
    LayerSpec::new(vec![
        Part::Parents { source: source.into(), target: target.to_owned() },
        Part::Tree {
            source: source.into(),
            target: target.to_owned(),
            owner: Owner::Fixed { uid, gid },
            filter,
            whiteouts: false,
        },
    ])
}

/// Everything that becomes a layer, in the pod's folders: launch and cached layers that are there, then the app.
pub(crate) fn all(outcome: &Outcome, work: &Path, user: (u32, u32)) -> Vec<(Tree, LayerSpec)> {
    let mut all = Vec::new();
    for built in &outcome.buildpacks {
        let kept = built
            .layers
            .iter()
            .filter(|(_, layer)| layer.present && (layer.types.launch || layer.types.cache));
        for (name, _) in kept {
            let tree = Tree::Layer { buildpack: built.id.clone(), layer: name.clone() };
            let spec = of_layer(&tree, work, user);
            all.push((tree, spec));
        }
    }
    for (slice, filter) in parts_of_app(&outcome.slices).into_iter().enumerate() {
        let spec = within(work, spec(WORKSPACE, &format!("/{WORKSPACE}"), user, filter));
        all.push((Tree::App { slice }, spec));
    }
    all
}

/// A buildpack's layer in the pod's folders.
pub(crate) fn of_layer(tree: &Tree, work: &Path, user: (u32, u32)) -> LayerSpec {
    let below = format!("{LAYERS}/{}", tree.below());
    within(work, spec(&below, &format!("/{below}"), user, Filter::default()))
}

/// No source leaves the folder, nor follows a link that untrusted code has made.
fn within(work: &Path, spec: LayerSpec) -> LayerSpec {
    LayerSpec { base: Some(work.to_owned()), ..spec }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slice_took_no_later_one_takes() {
        let slice = |path: &str| Slice { paths: vec![path.to_owned()] };
        let parts = parts_of_app(&[slice("static"), slice("*.js")]);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[1].include, ["*.js"]);
        assert_eq!(parts[1].exclude, ["static"]);
        assert_eq!((parts[2].include.len(), parts[2].exclude.len()), (0, 2));
        let what = |slices: Vec<Slice>| {
            too_many(&Outcome { slices, ..Outcome::default() }, 2).map(|too_many| too_many.what)
        };
        assert_eq!(what(vec![slice("a")]), None);
        assert_eq!(what(vec![slice("a"); SLICES + 1]), Some("slices"));
        assert_eq!(
            what(vec![Slice { paths: vec!["a".to_owned(); PATTERNS + 1] }]),
            Some("patterns of slices")
        );
    }
}
