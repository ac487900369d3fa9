//! A blob in the making.

use super::disk::{self, failed};
use super::{ContentStore, RegistryError};
use crate::Repository;
use hythe_model::Digest;
use hythe_oci::Hasher;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A blob in the making: a file of its own inside the store, locked for as long as anyone has it open. Dropped without
/// a commit, it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    store: ContentStore,
    file: File,
    path: PathBuf,
}

impl Upload {
    pub(super) fn begin(store: &ContentStore) -> Result<Self, RegistryError> {
        let (file, path) = disk::create(&store.uploads())?;
        let upload = Self { store: store.clone(), file, path };
        // The lock tells the sweep of another process that this file has an owner; it dies with its owner.
        upload.file.lock().map_err(|e| failed("lock", &upload.path, e))?;
        Ok(upload)
    }

    /// The file to write to; duplicate it (`try_clone`) to hand it on.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Publishes what was written as a blob of a repository, durably. The caller has computed the digest while it wrote
    /// and vouches for it; the size is checked.
    pub fn commit(self, repository: &Repository, digest: &Digest, size: u64) -> Result<(), RegistryError> {
        let written = self.file.metadata().map_err(|e| failed("look at", &self.path, e))?.len();
        if written != size {
            let (expected, actual) = (format!("{size} bytes"), format!("{written} bytes"));
            return Err(RegistryError::Mismatch { expected, actual });
        }
        let _publishing = self.store.publishing()?;
        if !self.store.has(digest)? {
            self.store.make_blob_folder(digest)?;
            disk::publish(&self.file, &self.path, &self.store.blob_path(digest))?;
        }
        self.store.link_while_publishing(repository, digest)
    }

    /// As [`Upload::commit`], for content that nobody vouches for: reads the file once more and checks the digest.
    /// Returns the size.
    pub fn commit_checked(mut self, repository: &Repository, digest: &Digest) -> Result<u64, RegistryError> {
        let (actual, size) = self.digest(digest.algorithm())?;
        if actual != *digest {
            return Err(RegistryError::Mismatch { expected: digest.to_string(), actual: actual.to_string() });
        }
        self.commit(repository, digest, size)?;
        Ok(size)
    }

    /// Appends bytes to [`Upload::file`]; a full disk is an error of its own.
    pub fn write(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        (&self.file).write_all(bytes).map_err(|e| failed("write", &self.path, e))
    }

    fn digest(&mut self, algorithm: &str) -> Result<(Digest, u64), RegistryError> {
        self.file.seek(SeekFrom::Start(0)).map_err(|e| failed("read", &self.path, e))?;
        let mut hasher = AnyHasher::new(algorithm);
        let mut buffer = vec![0; 256 << 10];
        let mut size = 0;
        loop {
            let count = self.file.read(&mut buffer).map_err(|e| failed("read", &self.path, e))?;
            if count == 0 {
                return Ok((hasher.finish(), size));
            }
            hasher.update(&buffer[..count]);
            size += count as u64;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // A published file has another name by now.
        let _ = fs::remove_file(&self.path);
    }
}

/// The digest of bytes in the algorithm of another.
pub(crate) fn digest_like(digest: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = AnyHasher::new(digest.algorithm());
    hasher.update(bytes);
    hasher.finish()
}

enum AnyHasher {
    Sha256(Hasher),
    Sha512(sha2::Sha512),
}

impl AnyHasher {
    fn new(algorithm: &str) -> Self {
        match algorithm {
            "sha512" => Self::Sha512(sha2::Sha512::default()),
            _ => Self::Sha256(Hasher::default()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => sha2::Digest::update(hasher, bytes),
        }
    }

    fn finish(self) -> Digest {
        use std::fmt::Write as _;
        match self {
            Self::Sha256(hasher) => hasher.finish(),
            Self::Sha512(hasher) => {
                let mut text = "sha512:".to_owned();
                for byte in sha2::Digest::finalize(hasher) {
                    let _ = write!(text, "{byte:02x}");
                }
                text.parse().expect("128 hexadecimal digits are a digest")
            }
        }
    }
}

/// Removes uploads whose owner is gone.
pub(super) fn sweep(folder: &Path) -> Result<(), RegistryError> {
    for name in disk::names(folder)? {
        let path = folder.join(name);
        // Gone meanwhile, where its owner has just ended.
        let Ok(file) = File::open(&path) else { continue };
        // Between its creation and its lock a file of another process is empty and new.
        let stat = file.metadata().map_err(|e| failed("look at", &path, e))?;
        let age = stat.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        if stat.len() == 0 && age.as_secs() < 60 {
            continue;
        }
        if file.try_lock().is_ok() {
            disk::remove(&path)?;
        }
    }
    Ok(())
}
