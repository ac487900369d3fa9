//! One content-addressed store for all repositories.
//!
//! Enter at [`ContentStore::open`].

use crate::{Reference, Repository, Tag};
use hythe_model::Digest;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The disk is full; nothing of what was written is left.
    #[error("the registry's disk is full (while it wrote {})", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// The operation, as in `rename`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was written is not what was promised.
    #[error("the content is {actual}, not {expected}")]
    Mismatch {
        /// What was promised: a digest, or a size in bytes.
        expected: String,
        /// What was found.
        actual: String,
    },
    /// The blob is not in the store.
    #[error("there is no blob {0}")]
    NoBlob(Digest),
}

/// The store. Cheap to clone; every clone is the same store.
#[derive(Debug, Clone)]
pub struct ContentStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
}

/// A manifest, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// The media type it was stored under.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A blob in the making: a file of its own inside the store. Dropped without a commit, it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    file: File,
}

/// What a garbage collection keeps.
#[derive(Debug, Clone)]
pub struct GcPolicy {
    /// Manifests to keep with all that they name: those of live and retained releases.
    pub keep: BTreeSet<Digest>,
    /// Whether tagged manifests are kept as well.
    pub keep_tagged: bool,
    /// Blobs younger than this are kept whatever names them, as a build may be about to.
    pub grace: Duration,
}

/// What a garbage collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[allow(clippy::todo, unused_variables, missing_docs)]
impl ContentStore {
    /// Opens the store in this folder, made where missing, and sweeps uploads that a crash left.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, RegistryError> {
        todo!()
    }
    /// The folder it is in.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }
    /// Starts a blob.
    pub fn begin(&self) -> Result<Upload, RegistryError> {
        todo!()
    }
    /// Stores these bytes as a blob of a repository.
    pub fn put_blob(&self, repository: &Repository, bytes: &[u8]) -> Result<Digest, RegistryError> {
        todo!()
    }
    /// Whether the store has this blob, in whatever repository.
    pub fn has(&self, digest: &Digest) -> Result<bool, RegistryError> {
        todo!()
    }
    /// Bytes of a blob, where there is one.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        todo!()
    }
    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, RegistryError> {
        todo!()
    }
    /// Makes a blob of the store one of this repository as well.
    pub fn link(&self, repository: &Repository, digest: &Digest) -> Result<(), RegistryError> {
        todo!()
    }
    /// Whether a blob is one of this repository's.
    pub fn linked(&self, repository: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        todo!()
    }
    /// Takes a blob out of a repository; its bytes go with the next garbage collection. False where it was not in it.
    pub fn unlink(&self, repository: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        todo!()
    }
    /// Stores a manifest byte for byte, and points the tag at it where the reference is one.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        todo!()
    }
    /// A manifest of a repository.
    pub fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<StoredManifest>, RegistryError> {
        todo!()
    }
    /// Points a tag at a manifest that the repository has.
    pub fn tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> Result<(), RegistryError> {
        todo!()
    }
    /// A repository's tags, sorted.
    pub fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, RegistryError> {
        todo!()
    }
    /// Removes a tag, or a manifest with all tags that point at it. False where there was none.
    pub fn delete_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<bool, RegistryError> {
        todo!()
    }
    /// All repositories, sorted.
    pub fn repositories(&self) -> Result<Vec<Repository>, RegistryError> {
        todo!()
    }
    /// Removes a repository with its manifests, tags and links.
    pub fn delete_repository(&self, repository: &Repository) -> Result<(), RegistryError> {
        todo!()
    }
    /// Removes manifests and blobs that nothing keeps.
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport, RegistryError> {
        todo!()
    }
}

#[allow(clippy::todo, unused_variables)]
impl Upload {
    /// The file to write to; duplicate it (`try_clone`) to hand it on.
    pub fn file(&self) -> &File {
        &self.file
    }
    /// Publishes what was written as a blob of a repository, durably. The caller has computed the digest while writing.
    pub fn commit(self, repository: &Repository, digest: &Digest, size: u64) -> Result<(), RegistryError> {
        todo!()
    }
    /// As [`Upload::commit`], and reads the file once more to check the digest.
    pub fn commit_checked(self, repository: &Repository, digest: &Digest) -> Result<u64, RegistryError> {
        todo!()
    }
}
