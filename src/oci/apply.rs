//! Applies a layer to a folder without trusting it.
//!
//! Enter at [`apply_layer`].

use hythe_model::Digest;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveFormat {
    /// Plain tar.
    Tar,
    /// gzip, one member or many.
    TarGzip,
    /// Zstandard, one frame or many.
    TarZstd,
}

/// Whom applied entries belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ownership {
    /// As the archive says.
    Archive,
    /// Everything to this user and group.
    Fixed {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// To whoever runs this; no `chown` is made.
    Current,
}

/// What is done with device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Devices {
    /// An error.
    Refuse,
    /// Left out, and counted in [`Applied::skipped`].
    Skip,
}

/// How a layer is applied, and how far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyOptions {
    /// Compression of the archive.
    pub format: ArchiveFormat,
    /// Whether `.wh.` entries mean deletions, which become those of an overlay (`userxattr`): a character device 0:0
    /// or the attribute `user.overlay.opaque`. Otherwise they are plain files.
    pub whiteouts: bool,
    /// Whom entries belong to.
    pub owner: Ownership,
    /// What is done with device nodes.
    pub devices: Devices,
    /// Digest that the uncompressed archive must have.
    pub expect: Option<Digest>,
    /// Most bytes of the uncompressed archive.
    pub max_bytes: u64,
    /// Most entries.
    pub max_entries: u64,
}

impl ApplyOptions {
    /// For an image's layer: whiteouts become an overlay's, owners stay, devices are refused, 64 GiB and 4 million entries.
    pub fn layer(format: ArchiveFormat) -> Self {
        Self {
            format,
            whiteouts: true,
            owner: Ownership::Archive,
            devices: Devices::Refuse,
            expect: None,
            max_bytes: 64 << 30,
            max_entries: 4_000_000,
        }
    }

    /// For a tree of plain files that all belong to one user.
    pub fn files(format: ArchiveFormat, owner: Ownership) -> Self {
        Self { whiteouts: false, owner, ..Self::layer(format) }
    }
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Bytes of the uncompressed archive.
    pub bytes: u64,
    /// Entries made.
    pub files: u64,
    /// Device nodes left out.
    pub skipped: u64,
}

/// Why a layer was not applied. The folder then holds a part of it and is to be removed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The folder could not be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Applies the archive in `reader` to the folder `dest`, which must exist.
pub fn apply_layer(reader: impl Read, dest: &Path, options: &ApplyOptions) -> Result<Applied, ApplyError> {
    let _ = (reader, dest, options);
    todo!()
}
