//! The buildpacks that there are.

use crate::files;
use hythe_cnb::buildpack::Descriptor;
use hythe_cnb::protocol::{Failure, TOML_MAX};
use std::path::{Path, PathBuf};

/// Buildpacks with their folders, in the request's sequence.
pub(crate) struct Buildpacks {
    /// What each says of itself.
    pub(crate) descriptors: Vec<Descriptor>,
    /// Where each lies.
    pub(crate) folders: Vec<PathBuf>,
}

/// Reads every descriptor; one that is broken or of an API that is not run is a failure that names it.
pub(crate) fn read(folders: &[PathBuf]) -> Result<Buildpacks, Box<Failure>> {
    let descriptors = folders.iter().map(|folder| read_one(folder)).collect::<Result<_, _>>()?;
    Ok(Buildpacks { descriptors, folders: folders.to_vec() })
}

fn read_one(folder: &Path) -> Result<Descriptor, Box<Failure>> {
    let fail =
        |reason: String| Box::new(Failure::Buildpack { buildpack: folder.display().to_string(), reason });
    let path = folder.join("buildpack.toml");
    let text = files::read(&path, TOML_MAX)
        .map_err(|error| fail(format!("buildpack.toml cannot be read: {error}")))?
        .ok_or_else(|| fail("it has no buildpack.toml".into()))?;
    let descriptor = Descriptor::parse(&text).map_err(|error| fail(error.to_string()))?;
    let fail = |reason| Box::new(Failure::Buildpack { buildpack: descriptor.id.to_string(), reason });
    descriptor.api().map_err(|error| fail(error.to_string()))?;
    Ok(descriptor)
}
