//! Images in the content store, as builds read and write them. Everything here blocks.

use hythe_model::Digest;
use hythe_oci::{Compression, ImageConfig, LayerDescriptor, LayerSpec, Manifest};
use hythe_registry::{ContentStore, Reference, RegistryError, Repository};
use std::io::{BufWriter, Read, Write};

/// How layers are compressed: quick, and small enough.
pub(crate) const COMPRESSION: Compression = Compression::Gzip { level: 1 };
/// Threads that compress one layer.
const THREADS: usize = 0;

/// Why an image cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Document(#[from] hythe_oci::ImageError),
    #[error(transparent)]
    Layer(#[from] hythe_oci::LayerError),
    #[error("a blob cannot be read or written: {0}")]
    Blob(std::io::Error),
}

/// Manifest and config of an image; `None` where there is no such image.
pub(crate) fn documents(
    content: &ContentStore,
    repository: &Repository,
    reference: &Reference,
) -> Result<Option<(Manifest, ImageConfig)>, ImageError> {
    let Some(stored) = content.manifest(repository, reference)? else { return Ok(None) };
    let manifest = Manifest::parse(&stored.bytes)?;
    let limit = hythe_oci::image::MAX_CONFIG as u64 + 1;
    let mut bytes = Vec::new();
    content
        .open_blob(&manifest.config.digest)?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(ImageError::Blob)?;
    let config = ImageConfig::parse(&bytes)?;
    Ok(Some((manifest, config)))
}

/// Writes a layer of the server's own files, and of none that a build made.
pub(crate) fn write_here(
    content: &ContentStore,
    repository: &Repository,
    spec: &LayerSpec,
) -> Result<LayerDescriptor, ImageError> {
    let upload = content.begin()?;
    let mut out = BufWriter::new(upload.file());
    let info = hythe_oci::write_layer(spec, COMPRESSION, &mut out, THREADS)?;
    out.flush().map_err(ImageError::Blob)?;
    drop(out);
    upload.commit(repository, &info.digest, info.size)?;
    Ok(LayerDescriptor::of(&info, COMPRESSION))
}

/// Layers of an image by diff id, for layers that a new image takes over.
pub(crate) fn layer_of(
    manifest: &Manifest,
    config: &ImageConfig,
    diff_id: &Digest,
) -> Option<LayerDescriptor> {
    let at = config.rootfs.diff_ids.iter().position(|found| found == diff_id)?;
    Some(LayerDescriptor { diff_id: diff_id.clone(), blob: manifest.layers.get(at)?.clone() })
}
