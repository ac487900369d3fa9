//! Applies a layer to a folder without trusting it.
//!
//! Enter at [`apply_layer`]. Every path is resolved by the kernel with the folder as its root (`openat2`,
//! `RESOLVE_IN_ROOT`), so that neither `..` nor a link leads out of it; what an archive may ask for is bounded in bytes,
//! entries and path length. Owners, modes (set-user-id included) and times are the archive's. Extended attributes are
//! never taken from an archive: with those of an overlay it could hide or redirect what other layers hold.

use crate::digest::DigestReader;
use hythe_model::Digest;
use serde::{Deserialize, Serialize};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

mod archive;
mod folder;

use archive::{Archive, Member, MemberKind};
use folder::Folder;

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

impl ArchiveFormat {
    /// The format that a layer's media type names; `None` for anything but a layer.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        use crate::image::media_type as known;
        match media_type {
            known::LAYER => Some(Self::Tar),
            known::LAYER_GZIP | known::DOCKER_LAYER => Some(Self::TarGzip),
            known::LAYER_ZSTD => Some(Self::TarZstd),
            _ => None,
        }
    }
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
    /// Entries made, whiteouts among them.
    pub files: u64,
    /// Entries left out: device nodes, where they are skipped.
    pub skipped: u64,
}

/// Why a layer was not applied. The folder then holds a part of it and is to be removed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The folder could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive could not be read or decompressed.
    #[error("the archive cannot be read: {0}")]
    Read(io::Error),
    /// The archive ends in the middle.
    #[error("the archive is cut off")]
    Truncated,
    /// The archive is not one.
    #[error("the archive is broken: {0}")]
    Malformed(String),
    /// An entry asks for what no archive may.
    #[error("the archive's entry `{path}` is refused: {why}")]
    Refused {
        /// Which, made printable.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// More bytes than allowed.
    #[error("the archive has more than {0} bytes")]
    TooLarge(u64),
    /// More entries than allowed.
    #[error("the archive has more than {0} entries")]
    TooMany(u64),
    /// The disk is full.
    #[error("the disk is full (at the archive's entry `{path}`)")]
    Full {
        /// The entry being made.
        path: String,
    },
    /// An entry could not be made.
    #[error("cannot {operation} the archive's entry `{path}`: {source}")]
    Write {
        /// What was tried, as in `create`.
        operation: &'static str,
        /// The entry.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Not the archive that was promised.
    #[error("the archive is {actual}, not {expected}")]
    Mismatch {
        /// The digest that was promised.
        expected: Digest,
        /// Its digest.
        actual: Digest,
    },
}

/// Applies the archive in `reader` to the folder `dest`, which must exist.
pub fn apply_layer(reader: impl Read, dest: &Path, options: &ApplyOptions) -> Result<Applied, ApplyError> {
    let folder = Folder::open(dest, options.owner, options.whiteouts)?;
    let reader = BufReader::with_capacity(256 << 10, reader);
    match options.format {
        ArchiveFormat::Tar => apply(reader, folder, options),
        ArchiveFormat::TarGzip => apply(flate2::bufread::MultiGzDecoder::new(reader), folder, options),
        ArchiveFormat::TarZstd => {
            let mut decoder = zstd::Decoder::with_buffer(reader).map_err(ApplyError::Read)?;
            // 128 MiB is what decoders take by convention; a stream that wants more is hostile.
            decoder.window_log_max(27).map_err(ApplyError::Read)?;
            apply(decoder, folder, options)
        }
    }
}

fn apply(reader: impl Read, mut folder: Folder, options: &ApplyOptions) -> Result<Applied, ApplyError> {
    let mut archive = Archive::new(DigestReader::new(reader), options.max_bytes);
    let (mut files, mut skipped) = (0, 0);
    while let Some(member) = archive.next()? {
        if files + skipped == options.max_entries {
            return Err(ApplyError::TooMany(options.max_entries));
        }
        if matches!(member.kind, MemberKind::Device) {
            if options.devices == Devices::Refuse {
                return Err(refused(&member.path, "it is a device node"));
            }
            skipped += 1;
            continue;
        }
        place(&mut folder, &mut archive, &member)?;
        files += 1;
    }
    folder.finish()?;
    let (diff_id, bytes) = archive.finish()?;
    match &options.expect {
        Some(expected) if *expected != diff_id => {
            Err(ApplyError::Mismatch { expected: expected.clone(), actual: diff_id })
        }
        _ => Ok(Applied { diff_id, bytes, files, skipped }),
    }
}

fn place<R: Read>(folder: &mut Folder, archive: &mut Archive<R>, member: &Member) -> Result<(), ApplyError> {
    let path = folder::Path::parse(&member.path)?;
    if folder.takes_as_whiteout(&path, member)? {
        return Ok(());
    }
    match &member.kind {
        MemberKind::Dir => folder.make_dir(&path, member),
        MemberKind::File => folder.make_file(&path, member, |buffer| archive.read(buffer)),
        MemberKind::Symlink => folder.make_symlink(&path, member),
        MemberKind::HardLink => folder.make_hard_link(&path, &folder::Path::parse(&member.link)?),
        MemberKind::Fifo => folder.make_fifo(&path, member),
        MemberKind::Device => Err(refused(&member.path, "it is a device node")),
    }
}

fn refused(path: &[u8], why: &'static str) -> ApplyError {
    ApplyError::Refused { path: printable(path), why }
}

/// A path from outside, short and without control characters.
fn printable(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    text.chars().take(200).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests;
