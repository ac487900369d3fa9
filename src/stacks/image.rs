//! Published images of a stack.

use hythe_model::Digest;
use serde::{Deserialize, Serialize};

/// Both images of a stack, as the content store has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackImages {
    /// Builds run on it.
    pub build: StackImage,
    /// Tools run on it. Its layers are the first ones of the build image too.
    pub run: StackImage,
    /// What the definition says of users.
    pub users: crate::Users,
    /// `ID` of the distribution, as in `debian`.
    pub distro_name: String,
    /// `VERSION_ID` of the distribution, as in `12`.
    pub distro_version: String,
}

/// One published base image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackImage {
    /// Repository in the registry, as in `stacks/bookworm/run`.
    pub repository: String,
    /// The tag that names this very image, as in `20261120`.
    pub tag: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its config: the JSON document of the OCI image specification, byte for byte.
    pub config: Vec<u8>,
    /// Its layers, lowest first.
    pub layers: Vec<StackLayer>,
}

/// One layer of a base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackLayer {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Digest of the compressed blob.
    pub digest: Digest,
    /// Bytes of the compressed blob.
    pub size: u64,
}
