//! What all builds stand on: the stack unpacked, the builder's order, the launcher as a layer.

use crate::{BuilderParts, fault, image};
use futures::future::try_join_all;
use hythe_cnb::builder::Builder as Definition;
use hythe_cnb::buildpack::{Distro, Target};
use hythe_cnb::{Order, buildpack::Descriptor as BuildpackDescriptor};
use hythe_model::{Digest, Fault};
use hythe_oci::{ApplyOptions, ArchiveFormat, ImageConfig, LayerDescriptor, LayerSpec, Manifest, Part};
use hythe_registry::{Reference, Repository};
use hythe_sandbox::RelPath;
use hythe_stacks::StackImage;
use std::path::PathBuf;

/// Where the launcher lies in an image (Platform specification, "launcher").
pub(crate) const LAUNCHER: &str = "/cnb/lifecycle/launcher";

/// What all builds stand on.
pub(crate) struct Base {
    /// Layers of the build image, the topmost first.
    pub(crate) lowers: Vec<RelPath>,
    /// Digest of the build image: caches are of no use on another.
    pub(crate) build_image: Digest,
    /// Whom the workspace and the layers belong to.
    pub(crate) build_user: (u32, u32),
    /// Name and home of that user.
    pub(crate) home: String,
    /// `PATH` of the build image, where it names one.
    pub(crate) path: Option<String>,
    /// Manifest and config of the run image.
    pub(crate) run: (Manifest, ImageConfig),
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
    pub(crate) async fn open(parts: &BuilderParts) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(&parts.builder)
            .map_err(fault::platform("read the builder's definition"))?;
        let definition =
            Definition::parse(&text).map_err(fault::platform("read the builder's definition"))?;
        let buildpacks = buildpacks(parts, &definition)?;
        let layers = parts.stack.build.layers.iter().rev();
        let lowers = try_join_all(layers.map(|layer| unpacked(parts, &layer.diff_id, &layer.digest))).await?;
        let run = documents(parts, &parts.stack.run)?;
        let build_config =
            ImageConfig::parse(&parts.stack.build.config).map_err(fault::platform("read the build image"))?;
        let users = &parts.stack.users;
        Ok(Self {
            lowers,
            build_image: parts.stack.build.digest.clone(),
            build_user: (users.build.uid, users.gid),
            path: build_config.env("PATH").map(ToOwned::to_owned),
            home: format!("/home/{}", users.build.name),
            target: target(parts, &run.1),
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

/// A layer of the stack in its folder, which the local runtime shares: `layers/<first 32 digits of the diff id>`.
async fn unpacked(parts: &BuilderParts, diff_id: &Digest, blob: &Digest) -> Result<RelPath, Fault> {
    let unpacking = fault::platform("unpack the stack");
    let path =
        RelPath::new(format!("layers/{}", &diff_id.hex()[..32])).map_err(fault::platform("name a layer"))?;
    if parts.helper.exists(&path).await.map_err(unpacking)? {
        return Ok(path);
    }
    // The runtime's sweep knows whose it is by the process, and removes those of earlier ones.
    let beside = format!("{path}.new-{}-build", std::process::id());
    let beside = RelPath::new(beside).map_err(fault::platform("name a layer"))?;
    parts.helper.remove(&beside).await.map_err(unpacking)?;
    let file = parts.content.open_blob(blob).map_err(fault::platform("open a layer of the stack"))?;
    let options =
        ApplyOptions { expect: Some(diff_id.clone()), ..ApplyOptions::layer(ArchiveFormat::TarGzip) };
    parts.helper.unpack(file, &beside, options).await.map_err(unpacking)?;
    if let Err(error) = parts.helper.rename(&beside, &path).await {
        // The runtime may have unpacked the same layer meanwhile: its folder is as good.
        if !parts.helper.exists(&path).await.map_err(unpacking)? {
            return Err(unpacking(error));
        }
        parts.helper.remove(&beside).await.map_err(unpacking)?;
    }
    Ok(path)
}

fn documents(parts: &BuilderParts, stack: &StackImage) -> Result<(Manifest, ImageConfig), Fault> {
    let repository: Repository =
        stack.repository.parse().map_err(fault::platform("name the stack's repository"))?;
    let found = image::documents(&parts.content, &repository, &Reference::Digest(stack.digest.clone()));
    found
        .map_err(fault::platform("read the run image"))?
        .ok_or_else(|| fault::platform("find the run image")("it is missing"))
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
    image::write_here(&parts.content, &repository, &spec)
        .map_err(fault::platform("write the launcher's layer"))
}
