//! What a pod is asked to carry, and what it brings back.

use crate::trees::Tree;
use crate::{CarryError, files};
use hythe_cnb::protocol::{Outcome, Request};
use hythe_cnb::{BuildpackId, LayerName};
use hythe_oci::{Digest, Fingerprint, LayerBounds, LayerDescriptor};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The largest [`Access`], bytes.
const ACCESS_MAX: u64 = 2 << 20;

/// The way to the build's repository. The only secret of a pod besides the tool's build-time config.
#[derive(Clone, Serialize, Deserialize)]
pub struct Access {
    /// Host and port of the registry.
    pub registry: String,
    /// Whether it speaks plain HTTP.
    pub plain: bool,
    /// Authorities that it is known by, as PEM; the image's own where absent.
    #[serde(default)]
    pub authorities: Option<String>,
    /// The repository, as in `builds/7`.
    pub repository: String,
    /// Who we are there.
    pub user: String,
    /// The password, good for this repository while the build runs.
    pub password: String,
    /// The [`Job`], a blob of the repository.
    pub job: Digest,
}

impl Access {
    /// Reads it from its file.
    pub fn read(path: &Path) -> Result<Self, CarryError> {
        files::read_given(path, ACCESS_MAX)
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("registry", &self.registry)
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}

/// What there is to do. It holds no secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// The source, an uncompressed tar; a blob of the repository.
    pub source: Digest,
    /// Cached layers that come back.
    pub cached: Vec<Cached>,
    /// The lifecycle's request, without the tool's build-time config.
    pub request: Request,
    /// User and group that layers belong to.
    pub user: (u32, u32),
    /// How far all trees together may go.
    pub bounds: LayerBounds,
}

/// A cached layer, which is a blob of the repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cached {
    /// Whose.
    pub buildpack: BuildpackId,
    /// Its name.
    pub layer: LayerName,
    /// The archive, with paths from the image's root.
    pub written: LayerDescriptor,
}

/// A cached layer as it lay there before the build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Restored {
    /// Which.
    pub(crate) cached: Cached,
    /// What its files looked like.
    pub(crate) fingerprint: Fingerprint,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// What the buildpacks made. From a place where untrusted code ran: its reader checks it.
    pub outcome: Outcome,
    /// Every tree of it that is a layer now, a blob of the repository.
    pub packed: Vec<Packed>,
    /// The tree that could not be packed, where one could not; the rest was left.
    pub refused: Option<Refused>,
}

/// A tree that is a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    /// Which.
    pub tree: Tree,
    /// The layer.
    pub layer: LayerDescriptor,
}

/// A tree that cannot be a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which, in words.
    pub what: String,
    /// Why.
    pub why: Refusal,
    /// The same in words.
    pub message: String,
}

/// Why a tree cannot be a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// It has more bytes or entries than allowed.
    TooLarge,
    /// It holds what no layer can hold, or cannot be read.
    Unreadable,
}
