//! The image that a build's pod runs: the stack's build image with the builder's buildpacks, the lifecycle and the carrier.

use crate::environment::{BUILDPACKS, LIFECYCLE};
use crate::layer::write_here;
use crate::{Common, fault};
use hythe_model::{Digest, Fault};
use hythe_oci::{BuiltImage, Filter, History, ImageBuilder, LayerSpec, Owner, Part};
use hythe_registry::{Reference, Repository};
use std::path::Path;

/// Where the carrier lies in it.
pub(crate) const CARRIER: &str = "/cnb/lifecycle/carrier";
/// The repository of the image that builds run in.
pub const REPOSITORY: &str = "platform/builder";

/// Its repository.
pub(crate) fn repository() -> Result<Repository, Fault> {
    REPOSITORY.parse().map_err(fault::platform("name a repository"))
}

/// Writes it; equal parts make an equal image.
pub(crate) fn publish(common: &Common, carrier: &Path) -> Result<Digest, Fault> {
    let (repository, content) = (repository()?, &common.parts.content);
    let layer = write_here(content, &repository, &parts(common, carrier)?)
        .map_err(fault::platform("write the builder's image"))?;
    let base = &common.base.build;
    let writing = fault::platform("write the builder's image");
    let history = History {
        created: Some(ImageBuilder::EPOCH.to_owned()),
        created_by: Some("Hythe: buildpacks and lifecycle".to_owned()),
        ..History::default()
    };
    let image = ImageBuilder::from_base(&base.manifest, &base.config)
        .map_err(fault::platform("read the build image"))?;
    let image = image.layer(layer, history).build().map_err(fault::platform("write the builder's image"))?;
    let put = || {
        for blob in &base.manifest.layers {
            content.link(&repository, &blob.digest)?;
        }
        content.put_blob(&repository, &image.config)?;
        for reference in [Reference::Digest(image.digest.clone()), "latest".parse()?] {
            content.put_manifest(&repository, &reference, BuiltImage::MEDIA_TYPE, &image.manifest)?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    put().map_err(|error| writing(error.to_string()))?;
    Ok(image.digest.clone())
}

/// Root owns everything, so that no buildpack changes another.
fn parts(common: &Common, carrier: &Path) -> Result<LayerSpec, Fault> {
    let host = |path: &Path| std::path::absolute(path).map_err(fault::platform("find its programs"));
    let dir = |target: &str| Part::Dir { target: target.to_owned(), mode: 0o755, uid: 0, gid: 0 };
    let program = |source, target: &str| Part::HostFile {
        source,
        target: target.to_owned(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let mut parts = vec![
        dir("/cnb"),
        dir(BUILDPACKS),
        dir("/cnb/lifecycle"),
        program(host(&common.parts.lifecycle)?, LIFECYCLE),
        program(host(carrier)?, CARRIER),
    ];
    for buildpack in &common.base.buildpacks {
        if let Some(name) = buildpack.file_name().and_then(|name| name.to_str()) {
            parts.push(Part::Tree {
                source: host(buildpack)?,
                target: format!("{BUILDPACKS}/{name}"),
                owner: Owner::Fixed { uid: 0, gid: 0 },
                filter: Filter::default(),
                whiteouts: false,
            });
        }
    }
    Ok(LayerSpec::new(parts))
}
