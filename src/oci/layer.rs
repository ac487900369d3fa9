//! Writes a layer in a single pass.
//!
//! Enter at [`write_layer`].

use crate::{Fingerprint, LayerSpec};
use hythe_model::Digest;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// gzip by libdeflate.
    Gzip {
        /// 1 (fast) to 12 (small).
        level: u8,
    },
    /// Zstandard.
    Zstd {
        /// 1 (fast) to 19 (small).
        level: u8,
    },
    /// A plain tar archive.
    None,
}

/// A layer that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Digest of what was written out.
    pub digest: Digest,
    /// Bytes written out.
    pub size: u64,
    /// Bytes of the uncompressed archive.
    pub uncompressed: u64,
    /// Entries in it, folders and links among them.
    pub files: u64,
    /// The fingerprint of the spec as it was read; equals what [`crate::fingerprint`] gives while nothing changes.
    pub fingerprint: Fingerprint,
}

/// Why no layer was written.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A source could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Writes the layer of `spec` to `out`, compressing on up to `threads` threads (0: as many as there are cores).
pub fn write_layer(
    spec: &LayerSpec,
    compression: Compression,
    out: &mut impl Write,
    threads: usize,
) -> Result<LayerInfo, LayerError> {
    let _ = (spec, compression, out, threads);
    todo!()
}
