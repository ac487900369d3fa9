//! Layers of the server's own files. Everything here blocks.

use hythe_carrier::trees::COMPRESSION;
use hythe_oci::{LayerDescriptor, LayerSpec};
use hythe_registry::{ContentStore, RegistryError, Repository};
use std::io::{BufWriter, Write};

/// Threads that compress one layer.
const THREADS: usize = 0;

/// Why a layer cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerWriteError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Layer(#[from] hythe_oci::LayerError),
    #[error("a blob cannot be written: {0}")]
    Blob(std::io::Error),
}

/// Writes a layer of the server's own files, and of none that a build made.
pub(crate) fn write_here(
    content: &ContentStore,
    repository: &Repository,
    spec: &LayerSpec,
) -> Result<LayerDescriptor, LayerWriteError> {
    let upload = content.begin()?;
    let mut out = BufWriter::new(upload.file());
    let info = hythe_oci::write_layer(spec, COMPRESSION, &mut out, THREADS)?;
    out.flush().map_err(LayerWriteError::Blob)?;
    drop(out);
    upload.commit(repository, &info.digest, info.size)?;
    Ok(LayerDescriptor::of(&info, COMPRESSION))
}
