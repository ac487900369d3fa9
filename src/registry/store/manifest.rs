//! Manifests, tags and referrers of a repository.

use super::disk::{self, failed};
use super::upload::digest_like;
use super::{ContentStore, RegistryError};
use crate::{Reference, Repository, Tag};
use hythe_model::Digest;
use hythe_oci::Descriptor;
use hythe_oci::image::MAX_MANIFEST;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

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

/// What any kind of manifest may point to; everything else in it is its owner's affair.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Pointers {
    pub(crate) media_type: Option<String>,
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Option<Descriptor>,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) manifests: Vec<Descriptor>,
    pub(crate) subject: Option<Descriptor>,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl ContentStore {
    /// Stores a manifest byte for byte, and points the tag at it where the reference is one. A digest must be its own.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = match reference {
            Reference::Tag(_) => hythe_oci::Hasher::digest(bytes),
            Reference::Digest(expected) => digest_like(expected, bytes),
        };
        if let Reference::Digest(expected) = reference
            && *expected != digest
        {
            return Err(RegistryError::Mismatch {
                expected: expected.to_string(),
                actual: digest.to_string(),
            });
        }
        let _publishing = self.publishing()?;
        self.put_bytes(&digest, bytes)?;
        self.link_while_publishing(repository, &digest)?;
        let record = self.manifest_path(repository, &digest);
        record.parent().map_or(Ok(()), disk::make_dir)?;
        disk::write(&self.uploads(), &record, media_type.as_bytes())?;
        if let Some(subject) = subject_of(bytes) {
            disk::mark(&self.referrer_path(repository, &subject, &digest))?;
        }
        if let Reference::Tag(tag) = reference {
            self.write_tag(repository, tag, &digest)?;
        }
        Ok(digest)
    }

    /// A manifest of a repository.
    pub fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<StoredManifest>, RegistryError> {
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => match self.resolve(repository, tag)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        let Some(media_type) = disk::read(&self.manifest_path(repository, &digest))? else {
            return Ok(None);
        };
        match self.read_document(&digest) {
            Ok(bytes) => Ok(Some(StoredManifest { digest, media_type, bytes })),
            Err(RegistryError::NoBlob(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The bytes of a manifest or config, bounded.
    pub(super) fn read_document(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        let most = MAX_MANIFEST as u64 + 1;
        let path = self.blob_path(digest);
        self.open_blob(digest)?.take(most).read_to_end(&mut bytes).map_err(|e| failed("read", &path, e))?;
        Ok(bytes)
    }

    /// The digest that a tag points at.
    pub fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, RegistryError> {
        let path = self.tag_path(repository, tag);
        let Some(text) = disk::read(&path)? else { return Ok(None) };
        let digest = text.parse().map_err(|_| crate::ReferenceError::Reference(text));
        digest.map(Some).map_err(|source| RegistryError::Broken { path, source })
    }

    /// Points a tag at a manifest that the repository has.
    pub fn tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> Result<(), RegistryError> {
        let _publishing = self.publishing()?;
        if !disk::exists(&self.manifest_path(repository, digest))? {
            let (repository, digest) = (repository.clone(), digest.clone());
            return Err(RegistryError::NoManifest { repository, digest });
        }
        self.write_tag(repository, tag, digest)
    }

    fn write_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> Result<(), RegistryError> {
        let path = self.tag_path(repository, tag);
        path.parent().map_or(Ok(()), disk::make_dir)?;
        disk::write(&self.uploads(), &path, digest.as_str().as_bytes())?;
        // Nobody may be there to hear it.
        let _ = self.inner.tagged.send((repository.clone(), tag.clone()));
        Ok(())
    }

    /// A repository's tags, sorted.
    pub fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, RegistryError> {
        let path = self.repository_path(repository).join("_tags");
        let broken = |source| RegistryError::Broken { path: path.clone(), source };
        disk::names(&path)?.into_iter().map(|name| name.parse().map_err(broken)).collect()
    }

    /// Removes a tag, or a manifest with all tags that point at it. False where there was none.
    pub fn delete_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<bool, RegistryError> {
        let _publishing = self.publishing()?;
        let digest = match reference {
            Reference::Tag(tag) => return disk::remove(&self.tag_path(repository, tag)),
            Reference::Digest(digest) => digest,
        };
        for tag in self.tags(repository)? {
            if self.resolve(repository, &tag)?.as_ref() == Some(digest) {
                disk::remove(&self.tag_path(repository, &tag))?;
            }
        }
        let removed = disk::remove(&self.manifest_path(repository, digest))?;
        if let Some(subject) = self.read_document(digest).ok().as_deref().and_then(subject_of) {
            disk::remove(&self.referrer_path(repository, &subject, digest))?;
        }
        disk::remove(&self.link_path(repository, digest))?;
        Ok(removed)
    }

    /// The manifests of a repository that name this one as their subject, as descriptors.
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let folder = self.referrers_path(repository, subject);
        let mut found = Vec::new();
        for name in disk::names(&folder)? {
            let Some(digest) = file_digest(&name) else { continue };
            let Some(manifest) = self.manifest(repository, &Reference::Digest(digest))? else { continue };
            let pointers: Pointers = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
            let config_type = || pointers.config.as_ref().map(|config| config.media_type.clone());
            let size = manifest.bytes.len() as u64;
            let mut descriptor = Descriptor::new(manifest.media_type, manifest.digest, size);
            descriptor.artifact_type = pointers.artifact_type.clone().or_else(config_type);
            descriptor.annotations = pointers.annotations;
            found.push(descriptor);
        }
        Ok(found)
    }

    /// The manifests of a repository.
    pub fn manifests(&self, repository: &Repository) -> Result<Vec<Digest>, RegistryError> {
        disk::digests(&self.repository_path(repository).join("_manifests"))
    }

    pub(super) fn manifest_path(&self, repository: &Repository, digest: &Digest) -> PathBuf {
        self.repository_path(repository).join("_manifests").join(digest.algorithm()).join(digest.hex())
    }

    pub(super) fn tag_path(&self, repository: &Repository, tag: &Tag) -> PathBuf {
        self.repository_path(repository).join("_tags").join(tag.as_str())
    }

    fn referrers_path(&self, repository: &Repository, subject: &Digest) -> PathBuf {
        self.repository_path(repository).join("_referrers").join(file_name(subject))
    }

    fn referrer_path(&self, repository: &Repository, subject: &Digest, digest: &Digest) -> PathBuf {
        self.referrers_path(repository, subject).join(file_name(digest))
    }
}

fn file_name(digest: &Digest) -> String {
    digest.as_str().replace(':', "-")
}

pub(super) fn file_digest(name: &str) -> Option<Digest> {
    name.replacen('-', ":", 1).parse().ok()
}

fn subject_of(bytes: &[u8]) -> Option<Digest> {
    serde_json::from_slice::<Pointers>(bytes).ok()?.subject.map(|subject| subject.digest)
}
