//! Restore: puts back what earlier builds left of the detected buildpacks, beside the contents that are in place.

use crate::files;
use crate::store::Buildpacks;
use hythe_cnb::FormatError;
use hythe_cnb::layer::LayerToml;
use hythe_cnb::protocol::{Failure, Request, Restore};
use std::fs;
use std::path::Path;

/// Makes each detected buildpack's folder of layers, with store.toml, `<layer>.toml` without types, and SBOM files.
pub(crate) fn restore(
    request: &Request,
    members: &[usize],
    buildpacks: &Buildpacks,
) -> Result<(), Box<Failure>> {
    for index in members {
        let id = &buildpacks.descriptors[*index].id;
        let dir = request.layers_dir.join(id.dir_name());
        fs::create_dir_all(&dir).map_err(files::setup("make", &dir))?;
        if let Some(restore) = request.restore.get(id) {
            write(&dir, restore)?;
        }
    }
    Ok(())
}

fn write(dir: &Path, restore: &Restore) -> Result<(), Box<Failure>> {
    if let Some(store) = &restore.store {
        put(dir, "store.toml", store.to_toml())?;
    }
    for (name, layer) in &restore.layers {
        put(dir, &format!("{name}.toml"), LayerToml::restored(layer.metadata.clone()))?;
        for (format, text) in &layer.sboms {
            put(dir, &format!("{name}.sbom.{}", format.extension()), Ok(text.clone()))?;
        }
    }
    Ok(())
}

fn put(dir: &Path, name: &str, text: Result<String, FormatError>) -> Result<(), Box<Failure>> {
    let path = dir.join(name);
    let text = text.map_err(|error| Box::new(Failure::Setup { reason: error.to_string() }))?;
    fs::write(&path, text).map_err(files::setup("write", &path))
}
