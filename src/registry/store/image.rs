//! An image's two documents, read and checked.

use super::manifest::StoredManifest;
use super::{ContentStore, RegistryError};
use crate::{Reference, Repository};
use hythe_model::Digest;
use hythe_oci::image::MAX_CONFIG;
use hythe_oci::{ImageConfig, ImageError, LayerDescriptor, Manifest};
use std::io::Read;

/// An image for one platform.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its config.
    pub config: ImageConfig,
    /// The config's bytes.
    pub config_bytes: Vec<u8>,
}

impl StoredImage {
    /// Its layers, the base first.
    pub fn layers(&self) -> impl DoubleEndedIterator<Item = LayerDescriptor> + '_ {
        let pairs = self.manifest.layers.iter().zip(&self.config.rootfs.diff_ids);
        pairs.map(|(blob, diff_id)| LayerDescriptor { diff_id: diff_id.clone(), blob: blob.clone() })
    }

    /// The layer with this diff id.
    pub fn layer(&self, diff_id: &Digest) -> Option<LayerDescriptor> {
        self.layers().find(|layer| layer.diff_id == *diff_id)
    }
}

impl ContentStore {
    /// An image of a repository; `None` where the repository has no such manifest.
    ///
    /// # Errors
    /// [`RegistryError::NoBlob`] where its config is missing, [`RegistryError::Image`] where a document is none or the
    /// two do not fit each other.
    pub fn image(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<StoredImage>, RegistryError> {
        let Some(StoredManifest { digest, bytes, .. }) = self.manifest(repository, reference)? else {
            return Ok(None);
        };
        let bad =
            |source: ImageError| RegistryError::Image { digest: digest.clone(), why: source.to_string() };
        let manifest = Manifest::parse(&bytes).map_err(bad)?;
        let path = self.blob_path(&manifest.config.digest);
        let mut config_bytes = Vec::new();
        self.open_blob(&manifest.config.digest)?
            .take(MAX_CONFIG as u64 + 1)
            .read_to_end(&mut config_bytes)
            .map_err(|error| super::failed("read", &path, error))?;
        let config = ImageConfig::parse(&config_bytes).map_err(bad)?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            let why = format!("its manifest has {layers} layers, its config {diff_ids}");
            return Err(RegistryError::Image { digest, why });
        }
        Ok(Some(StoredImage { digest, manifest, config, config_bytes }))
    }
}
