//! What all builds stand on: the stack unpacked, the builder's order, the launcher as a layer.

use crate::layer::write_here;
use crate::{BuilderParts, fault};
use hythe_cnb::builder::Builder as Definition;
use hythe_cnb::buildpack::{Distro, Target};
use hythe_cnb::{Order, buildpack::Descriptor as BuildpackDescriptor};
use hythe_model::Fault;
use hythe_oci::{ImageConfig, LayerDescriptor, LayerSpec, Part};
use hythe_registry::{Reference, Repository, StoredImage};
use hythe_stacks::StackImage;
use std::path::PathBuf;

/// Where the launcher lies in an image (Platform specification, "launcher").
pub(crate) const LAUNCHER: &str = "/cnb/lifecycle/launcher";

/// What all builds stand on.
pub(crate) struct Base {
    /// The build image; caches are of no use on another.
    pub(crate) build: StoredImage,
    /// Whom the workspace and the layers belong to.
    pub(crate) build_user: (u32, u32),
    /// Name and home of that user.
    pub(crate) home: String,
    /// `PATH` of the build image, where it names one.
    pub(crate) path: Option<String>,
    /// The run image.
    pub(crate) run: StoredImage,
    /// The builder's buildpacks, as folders.
    pub(crate) buildpacks: Vec<PathBuf>,
    /// How they are tried.
    pub(crate) order: Order,
    /// What images are for.
    pub(crate) target: Target,
    /// The launcher, written once.
    pub(crate) launcher: LayerDescriptor,
}

impl Base {
    pub(crate) fn open(parts: &BuilderParts) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(&parts.builder)
            .map_err(fault::platform("read the builder's definition"))?;
        let definition =
            Definition::parse(&text).map_err(fault::platform("read the builder's definition"))?;
        let buildpacks = buildpacks(parts, &definition)?;
        let (build, run) = (image(parts, &parts.stack.build)?, image(parts, &parts.stack.run)?);
        let users = &parts.stack.users;
        Ok(Self {
            build_user: (users.build.uid, users.gid),
            path: build.config.env("PATH").map(ToOwned::to_owned),
            build,
            home: format!("/home/{}", users.build.name),
            target: target(parts, &run.config),
            run,
            buildpacks,
            order: definition.order,
            launcher: launcher(parts)?,
        })
    }
}

/// The folders of the builder's buildpacks; each must hold a buildpack.toml of an API that is run.
fn buildpacks(parts: &BuilderParts, definition: &Definition) -> Result<Vec<PathBuf>, Fault> {
    let folder = |uri: &str| parts.buildpacks.join(uri);
    let mut found = Vec::new();
    for source in &definition.buildpacks {
        let path = folder(&source.uri);
        let text = std::fs::read_to_string(path.join("buildpack.toml"))
            .map_err(fault::platform("read a buildpack.toml"))?;
        let descriptor =
            BuildpackDescriptor::parse(&text).map_err(fault::platform("read a buildpack.toml"))?;
        descriptor.api().map_err(fault::platform("run a buildpack of this API"))?;
        found.push(path);
    }
    Ok(found)
}

/// An image of the stack, which must be there.
fn image(parts: &BuilderParts, stack: &StackImage) -> Result<StoredImage, Fault> {
    let repository: Repository =
        stack.repository.parse().map_err(fault::platform("name the stack's repository"))?;
    let found = parts.content.image(&repository, &Reference::Digest(stack.digest.clone()));
    found
        .map_err(fault::platform("read an image of the stack"))?
        .ok_or_else(|| fault::platform("find an image of the stack")("it is missing"))
}

fn target(parts: &BuilderParts, run: &ImageConfig) -> Target {
    Target {
        os: Some(run.platform.os.clone()),
        arch: Some(run.platform.architecture.clone()),
        variant: run.platform.variant.clone(),
        distros: vec![Distro {
            name: Some(parts.stack.distro_name.clone()),
            version: Some(parts.stack.distro_version.clone()),
        }],
    }
}

/// Root owns the launcher and what lies around it (cnb: launcher directories root 0755).
fn launcher(parts: &BuilderParts) -> Result<LayerDescriptor, Fault> {
    let dir = |target: &str| Part::Dir { target: target.to_owned(), mode: 0o755, uid: 0, gid: 0 };
    let program = Part::HostFile {
        source: std::path::absolute(&parts.launcher).map_err(fault::platform("find the launcher"))?,
        target: LAUNCHER.to_owned(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let spec = LayerSpec::new(vec![dir("/cnb"), dir("/cnb/lifecycle"), program]);
    let repository: Repository = "platform/launcher".parse().map_err(fault::platform("name a repository"))?;
    write_here(&parts.content, &repository, &spec).map_err(fault::platform("write the launcher's layer"))
}
