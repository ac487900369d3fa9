//! One content-addressed store for all repositories.
//!
//! Enter at [`ContentStore::open`]. Blobs lie once, by digest; a repository has links to those it may show. All names
//! become visible by a rename of a file that is whole and on disk, and the folder is on disk before a call returns: what
//! was published survives any crash, and nothing half-written has a name. Everything here blocks.

use crate::{ReferenceError, Repository, Tag};
use hythe_model::Digest;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::SystemTime;
use tokio::sync::broadcast;

mod disk;
mod gc;
mod image;
mod manifest;
mod upload;

pub use gc::{GcPolicy, GcReport};
pub use image::StoredImage;
pub(crate) use manifest::Pointers;
pub use manifest::StoredManifest;
pub use upload::Upload;

use disk::{failed, sync_dir};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The disk is full; nothing of what was being written is left.
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
        source: io::Error,
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
    /// The manifest is not in the repository.
    #[error("there is no manifest {digest} in {repository}")]
    NoManifest {
        /// Where it is missing.
        repository: Repository,
        /// Which.
        digest: Digest,
    },
    /// A manifest or a config that is not one of an image.
    #[error("{digest} is no image: {why}")]
    Image {
        /// The manifest.
        digest: Digest,
        /// What is wrong.
        why: String,
    },
    /// A file of the store that does not say what it should.
    #[error("{} is broken: {source}", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ReferenceError,
    },
}

/// The store. Cheap to clone; every clone is the same store.
#[derive(Debug, Clone)]
pub struct ContentStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Held shared by whatever publishes, exclusively by a collection: it may not remove what is being linked.
    collecting: RwLock<()>,
    /// The same between processes that have the folder in common.
    collecting_lock: PathBuf,
    /// Tells of each tag that is written.
    tagged: broadcast::Sender<(Repository, Tag)>,
}

/// So many tags wait for a slow listener; older ones are dropped.
const TAGGED: usize = 64;

/// Held by whatever publishes.
pub(crate) struct Publishing<'a> {
    _here: RwLockReadGuard<'a, ()>,
    _everywhere: File,
}

impl ContentStore {
    /// Opens the store in this folder, made where missing, and sweeps uploads that a crash left.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, RegistryError> {
        let root = root.into();
        for name in ["uploads", "repositories", "blobs/sha512"] {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(|e| failed("create", &path, e))?;
        }
        // Made beforehand, so that a commit has one folder to sync and not two.
        for byte in 0..=u8::MAX {
            let path = root.join(format!("blobs/sha256/{byte:02x}"));
            fs::create_dir_all(&path).map_err(|e| failed("create", &path, e))?;
        }
        for name in ["blobs/sha256", "blobs", "."] {
            sync_dir(&root.join(name))?;
        }
        let collecting_lock = root.join("collecting.lock");
        let (collecting, tagged) = (RwLock::new(()), broadcast::channel(TAGGED).0);
        let store = Self { inner: Arc::new(Inner { root, collecting, collecting_lock, tagged }) };
        upload::sweep(&store.uploads())?;
        Ok(store)
    }

    /// What is tagged from now on, through this store and its clones: of other processes that have the folder in common nothing is told.
    pub fn tagged(&self) -> broadcast::Receiver<(Repository, Tag)> {
        self.inner.tagged.subscribe()
    }

    /// The folder it is in.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Starts a blob.
    pub fn begin(&self) -> Result<Upload, RegistryError> {
        Upload::begin(self)
    }

    /// Stores these bytes as a blob of a repository.
    pub fn put_blob(&self, repository: &Repository, bytes: &[u8]) -> Result<Digest, RegistryError> {
        let digest = hythe_oci::Hasher::digest(bytes);
        self.put_bytes(&digest, bytes)?;
        self.link(repository, &digest)?;
        Ok(digest)
    }

    /// Stores bytes whose digest is known, linked nowhere yet.
    fn put_bytes(&self, digest: &Digest, bytes: &[u8]) -> Result<(), RegistryError> {
        let path = self.blob_path(digest);
        if !self.has(digest)? {
            self.make_blob_folder(digest)?;
            disk::write(&self.uploads(), &path, bytes)?;
        }
        Ok(())
    }

    /// Whether the store has this blob, in whatever repository.
    pub fn has(&self, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.size(digest)?.is_some())
    }

    /// Bytes of a blob, where there is one.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(stat) => Ok(Some(stat.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("look at", &path, e)),
        }
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, RegistryError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => RegistryError::NoBlob(digest.clone()),
            _ => failed("open", &path, e),
        })
    }

    /// Makes a blob of the store one of this repository as well, and young again for the garbage collection.
    pub fn link(&self, repository: &Repository, digest: &Digest) -> Result<(), RegistryError> {
        let _publishing = self.publishing()?;
        self.link_while_publishing(repository, digest)
    }

    fn link_while_publishing(&self, repository: &Repository, digest: &Digest) -> Result<(), RegistryError> {
        let blob = self.open_blob(digest)?;
        blob.set_modified(SystemTime::now()).map_err(|e| failed("date", &self.blob_path(digest), e))?;
        disk::mark(&self.link_path(repository, digest))
    }

    /// Whether a blob is one of this repository's.
    pub fn linked(&self, repository: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(disk::exists(&self.link_path(repository, digest))? && self.has(digest)?)
    }

    /// Bytes of all blobs of this repository, but for these.
    pub fn linked_bytes(
        &self,
        repository: &Repository,
        except: &HashSet<Digest>,
    ) -> Result<u64, RegistryError> {
        let linked = disk::digests(&self.repository_path(repository).join("_blobs"))?;
        let counted = linked.iter().filter(|digest| !except.contains(*digest));
        counted.map(|digest| Ok(self.size(digest)?.unwrap_or_default())).sum()
    }

    /// Takes a blob out of a repository; its bytes go with the next garbage collection. False where it was not in it.
    pub fn unlink(&self, repository: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        disk::remove(&self.link_path(repository, digest))
    }

    /// All repositories, sorted.
    pub fn repositories(&self) -> Result<Vec<Repository>, RegistryError> {
        let top = self.inner.root.join("repositories");
        let (mut left, mut found) = (vec![String::new()], Vec::new());
        while let Some(name) = left.pop() {
            let mut is_repository = false;
            for entry in disk::names(&top.join(&name))? {
                match entry.as_bytes().first() {
                    Some(b'_') => is_repository = true,
                    _ if name.is_empty() => left.push(entry),
                    _ => left.push(format!("{name}/{entry}")),
                }
            }
            if is_repository {
                let path = top.join(&name);
                found.push(name.parse().map_err(|source| RegistryError::Broken { path, source })?);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Whether anything was ever put there.
    pub(crate) fn is_known(&self, repository: &Repository) -> bool {
        let path = self.repository_path(repository);
        ["_blobs", "_manifests"].iter().any(|name| path.join(name).is_dir())
    }

    /// Removes a repository with its manifests, tags and links; repositories whose names begin with its own stay.
    pub fn delete_repository(&self, repository: &Repository) -> Result<(), RegistryError> {
        let _publishing = self.publishing()?;
        let path = self.repository_path(repository);
        // Tags first: at no moment does one lead nowhere.
        for name in ["_tags", "_manifests", "_referrers", "_blobs"] {
            disk::remove_all(&path.join(name))?;
        }
        let top = self.inner.root.join("repositories");
        for folder in path.ancestors().take_while(|folder| *folder != top) {
            // Fails where another repository lies below, which is as it should be.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn publishing(&self) -> Result<Publishing<'_>, RegistryError> {
        let here = self.inner.collecting.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Publishing { _here: here, _everywhere: self.lock_collecting(File::lock_shared)? })
    }

    /// Locks the folder against collections of other processes, or for one of this.
    fn lock_collecting(&self, lock: impl FnOnce(&File) -> io::Result<()>) -> Result<File, RegistryError> {
        let path = &self.inner.collecting_lock;
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|e| failed("open", path, e))?;
        lock(&file).map_err(|e| failed("lock", path, e))?;
        Ok(file)
    }

    fn uploads(&self) -> PathBuf {
        self.inner.root.join("uploads")
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let (algorithm, hex) = (digest.algorithm(), digest.hex());
        self.inner.root.join("blobs").join(algorithm).join(&hex[..2]).join(hex)
    }

    /// The folders of SHA-512 blobs are few and made when needed.
    fn make_blob_folder(&self, digest: &Digest) -> Result<(), RegistryError> {
        let path = self.blob_path(digest);
        path.parent().map_or(Ok(()), disk::make_dir)
    }

    fn repository_path(&self, repository: &Repository) -> PathBuf {
        self.inner.root.join("repositories").join(repository.as_str())
    }

    fn link_path(&self, repository: &Repository, digest: &Digest) -> PathBuf {
        self.repository_path(repository).join("_blobs").join(digest.algorithm()).join(digest.hex())
    }
}

#[cfg(test)]
mod tests;
