//! Removes what nothing keeps.
//!
//! Marks start from the manifests that the caller names (those of live and retained releases), never from tags alone.

use super::disk::{self, failed};
use super::manifest::{Pointers, file_digest};
use super::{ContentStore, RegistryError};
use crate::Repository;
use hythe_model::Digest;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{PoisonError, RwLockWriteGuard};
use std::time::Duration;

/// What a garbage collection keeps.
#[derive(Debug, Clone)]
pub struct GcPolicy {
    /// Manifests to keep with all that they name, as those of live and retained releases, and blobs to keep as they are.
    pub keep: BTreeSet<Digest>,
    /// Whether tagged manifests are kept as well.
    pub keep_tagged: bool,
    /// Blobs younger than this are kept whatever names them, as a build may be about to; so is what a young manifest
    /// names.
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

impl ContentStore {
    /// Removes manifests and blobs that nothing keeps. What is published meanwhile is young and so stays; it waits only
    /// while one repository or one folder of blobs is swept.
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport, RegistryError> {
        let mut marks = Marks { store: self, kept: BTreeSet::new(), read: BTreeSet::new() };
        policy.keep.iter().try_for_each(|digest| marks.manifest(digest))?;
        for repository in self.repositories()? {
            if policy.keep_tagged {
                for tag in self.tags(&repository)? {
                    self.resolve(&repository, &tag)?.iter().try_for_each(|digest| marks.manifest(digest))?;
                }
            }
            for digest in self.manifests(&repository)? {
                if self.is_young(&digest, policy.grace) {
                    marks.manifest(&digest)?;
                }
            }
        }
        marks.referrers()?;
        let kept = marks.kept;
        let stays = |digest: &Digest| kept.contains(digest) || self.is_young(digest, policy.grace);
        self.sweep_names(&stays, policy.grace)?;
        self.sweep_blobs(&stays)
    }

    fn is_young(&self, digest: &Digest, grace: Duration) -> bool {
        is_young(&self.blob_path(digest), grace)
    }

    /// What the manifests of a repository that stay name; `None` where one of them cannot be read.
    fn named(
        &self,
        repository: &Repository,
        stays: &dyn Fn(&Digest) -> bool,
    ) -> Result<Option<BTreeSet<Digest>>, RegistryError> {
        let mut named = BTreeSet::new();
        for manifest in self.manifests(repository)?.into_iter().filter(|digest| stays(digest)) {
            let bytes = match self.read_document(&manifest) {
                Ok(bytes) => bytes,
                Err(RegistryError::NoBlob(_)) => continue,
                Err(error) => return Err(error),
            };
            let Ok(pointers) = serde_json::from_slice::<Pointers>(&bytes) else { return Ok(None) };
            named.extend(pointers.config.into_iter().chain(pointers.layers).map(|blob| blob.digest));
            named.extend(pointers.manifests.into_iter().map(|blob| blob.digest));
            named.insert(manifest);
        }
        Ok(Some(named))
    }

    /// Nobody publishes while this is held.
    fn alone(&self) -> Result<(RwLockWriteGuard<'_, ()>, fs::File), RegistryError> {
        let here = self.inner.collecting.write().unwrap_or_else(PoisonError::into_inner);
        Ok((here, self.lock_collecting(fs::File::lock)?))
    }

    /// Removes the names of what goes, before it goes.
    fn sweep_names(&self, stays: &dyn Fn(&Digest) -> bool, grace: Duration) -> Result<(), RegistryError> {
        for repository in self.repositories()? {
            let _alone = self.alone()?;
            for tag in self.tags(&repository)? {
                if self.resolve(&repository, &tag)?.is_none_or(|digest| !stays(&digest)) {
                    disk::remove(&self.tag_path(&repository, &tag))?;
                }
            }
            let path = self.repository_path(&repository);
            let named = self.named(&repository, stays)?;
            for kind in ["_manifests", "_blobs"] {
                for algorithm in disk::names(&path.join(kind))? {
                    let folder = path.join(kind).join(&algorithm);
                    // What others have too is this repository's as long as something of it needs it, or is about to.
                    let is_needed = |hex: &str, digest: &Digest| {
                        kind == "_manifests"
                            || named.as_ref().is_none_or(|named| named.contains(digest))
                            || is_young(&folder.join(hex), grace)
                    };
                    sweep(&folder, &|hex| {
                        let digest = format!("{algorithm}:{hex}").parse();
                        digest.is_ok_and(|digest| stays(&digest) && is_needed(hex, &digest))
                    })?;
                }
            }
            for subject in disk::names(&path.join("_referrers"))? {
                let folder = path.join("_referrers").join(subject);
                sweep(&folder, &|name| file_digest(name).is_some_and(|digest| stays(&digest)))?;
            }
        }
        Ok(())
    }

    fn sweep_blobs(&self, stays: &dyn Fn(&Digest) -> bool) -> Result<GcReport, RegistryError> {
        let mut report = GcReport::default();
        let top = self.inner.root.join("blobs");
        for algorithm in disk::names(&top)? {
            for part in disk::names(&top.join(&algorithm))? {
                let folder = top.join(&algorithm).join(part);
                let _alone = self.alone()?;
                for hex in disk::names(&folder)? {
                    let path = folder.join(&hex);
                    if format!("{algorithm}:{hex}").parse().is_ok_and(|digest| stays(&digest)) {
                        continue;
                    }
                    let bytes = fs::metadata(&path).map_err(|e| failed("look at", &path, e))?.len();
                    fs::remove_file(&path).map_err(|e| failed("remove", &path, e))?;
                    report = GcReport { blobs: report.blobs + 1, bytes: report.bytes + bytes };
                }
            }
        }
        Ok(report)
    }
}

fn is_young(path: &Path, grace: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|stat| stat.modified());
    // A time in the future is young; what is not there is not.
    modified.is_ok_and(|time| time.elapsed().map_or(true, |age| age < grace))
}

/// Removes the files of a folder whose names do not stay, and the folder once it is empty.
fn sweep(folder: &Path, stays: &dyn Fn(&str) -> bool) -> Result<(), RegistryError> {
    for name in disk::names(folder)? {
        if !stays(&name) {
            disk::remove(&folder.join(name))?;
        }
    }
    Ok(())
}

/// What is kept so far.
struct Marks<'a> {
    store: &'a ContentStore,
    kept: BTreeSet<Digest>,
    /// The manifests among them that were read: one may be kept before as somebody's layer.
    read: BTreeSet<Digest>,
}

impl Marks<'_> {
    /// Keeps a manifest and all it names, manifests of an index included.
    fn manifest(&mut self, digest: &Digest) -> Result<(), RegistryError> {
        let mut left = vec![digest.clone()];
        while let Some(digest) = left.pop() {
            self.kept.insert(digest.clone());
            if !self.read.insert(digest.clone()) {
                continue;
            }
            let bytes = match self.store.read_document(&digest) {
                Ok(bytes) => bytes,
                Err(RegistryError::NoBlob(_)) => continue,
                Err(e) => return Err(e),
            };
            let pointers: Pointers = serde_json::from_slice(&bytes).unwrap_or_default();
            left.extend(pointers.manifests.into_iter().map(|descriptor| descriptor.digest));
            self.kept.extend(pointers.config.into_iter().chain(pointers.layers).map(|blob| blob.digest));
        }
        Ok(())
    }

    /// Keeps what refers to something that is kept (signatures, bills of materials), until nothing is added.
    fn referrers(&mut self) -> Result<(), RegistryError> {
        loop {
            let before = self.kept.len();
            for repository in self.store.repositories()? {
                let folder = self.store.repository_path(&repository).join("_referrers");
                for subject in disk::names(&folder)? {
                    if !file_digest(&subject).is_some_and(|digest| self.kept.contains(&digest)) {
                        continue;
                    }
                    for name in disk::names(&folder.join(&subject))? {
                        file_digest(&name).iter().try_for_each(|digest| self.manifest(digest))?;
                    }
                }
            }
            if self.kept.len() == before {
                return Ok(());
            }
        }
    }
}
