//! Layers to images in the content store, and back.
//!
//! Enter at [`find`] and [`publish`]. The images' documents follow from the definition and the layers alone.

use crate::make::Finished;
use crate::{Definition, StackError, StackImage, StackImages, StackLayer};
use hythe_model::Digest;
use hythe_oci::{
    BuiltImage, Descriptor, History, ImageBuilder, ImageConfig, LayerDescriptor, Manifest, Platform,
    media_type,
};
use hythe_registry::{ContentStore, Reference, Repository, Tag};
use std::io;
use std::path::Path;

/// Label of an image: key of the definition that it was made from.
const DEFINITION_LABEL: &str = "io.hythe.stack.definition";
/// Label of an image: hash over the names and versions of its packages.
const PACKAGES_LABEL: &str = "io.hythe.stack.packages";
/// Where programs are found inside both images.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The images of this very definition, where the store has them whole.
pub(crate) fn find(
    content: &ContentStore,
    definition: &Definition,
) -> Result<Option<StackImages>, StackError> {
    let run = find_image(content, definition, &definition.run_repository())?;
    let build = find_image(content, definition, &definition.build_repository())?;
    Ok(run.zip(build).map(|(run, build)| images(definition, build, run)))
}

fn find_image(
    content: &ContentStore,
    definition: &Definition,
    repository: &str,
) -> Result<Option<StackImage>, StackError> {
    let name: Repository = repository.parse()?;
    let Some(stored) = content.manifest(&name, &"latest".parse::<Reference>()?)? else { return Ok(None) };
    let manifest = Manifest::parse(&stored.bytes)?;
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        if !content.has(&blob.digest)? {
            return Ok(None);
        }
    }
    let bytes = read_blob(content, &manifest.config.digest)?;
    let config = ImageConfig::parse(&bytes)?;
    if config.config.labels.get(DEFINITION_LABEL) != Some(&definition.key()) {
        return Ok(None);
    }
    let layer = |(diff_id, blob): (&Digest, &Descriptor)| StackLayer {
        diff_id: diff_id.clone(),
        digest: blob.digest.clone(),
        size: blob.size,
    };
    Ok(Some(StackImage {
        repository: repository.to_owned(),
        tag: dated_tag(content, &name, &stored.digest)?,
        digest: stored.digest,
        config: bytes,
        layers: config.rootfs.diff_ids.iter().zip(&manifest.layers).map(layer).collect(),
    }))
}

fn read_blob(content: &ContentStore, digest: &Digest) -> Result<Vec<u8>, StackError> {
    let mut bytes = Vec::new();
    let mut file = content.open_blob(digest)?;
    io::Read::read_to_end(&mut file, &mut bytes).map_err(|source| StackError::Files {
        operation: "read",
        path: digest.as_str().into(),
        source,
    })?;
    Ok(bytes)
}

/// The tag beside `latest` that points at this image.
fn dated_tag(content: &ContentStore, name: &Repository, digest: &Digest) -> Result<String, StackError> {
    for tag in content.tags(name)? {
        let at = content.manifest(name, &Reference::Tag(tag.clone()))?;
        if tag.as_str() != "latest" && at.is_some_and(|at| at.digest == *digest) {
            return Ok(tag.as_str().to_owned());
        }
    }
    Ok("latest".to_owned())
}

/// Puts the layers of `folder` and the images made of them into the store.
pub(crate) fn publish(
    content: &ContentStore,
    definition: &Definition,
    folder: &Path,
    finished: &Finished,
) -> Result<StackImages, StackError> {
    let run_layers = [&finished.run];
    let build_layers = [&finished.run, &finished.build];
    let run = publish_image(content, folder, finished, &definition.run_repository(), &run_layers, |image| {
        let users = &definition.users;
        described(image, definition, &finished.run_packages).user(format!("{}:{}", users.run.uid, users.gid))
    })?;
    let build =
        publish_image(content, folder, finished, &definition.build_repository(), &build_layers, |image| {
            let users = &definition.users;
            described(image, definition, &finished.build_packages)
                .env("CNB_USER_ID", &users.build.uid.to_string())
                .env("CNB_GROUP_ID", &users.gid.to_string())
                .user(format!("{}:{}", users.build.uid, users.gid))
        })?;
    Ok(images(definition, build, run))
}

fn images(definition: &Definition, build: StackImage, run: StackImage) -> StackImages {
    StackImages {
        build,
        run,
        users: definition.users.clone(),
        distro_name: definition.distribution.name.clone(),
        distro_version: definition.distribution.version.clone(),
    }
}

/// What both images say of themselves.
fn described(image: ImageBuilder, definition: &Definition, packages: &[String]) -> ImageBuilder {
    let distribution = &definition.distribution;
    image
        .env("PATH", PATH)
        .label("io.buildpacks.base.description", &definition.description)
        .label("io.buildpacks.base.distro.name", &distribution.name)
        .label("io.buildpacks.base.distro.version", &distribution.version)
        .label("io.buildpacks.base.maintainer", "Hythe")
        .label(DEFINITION_LABEL, definition.key())
        .label(PACKAGES_LABEL, blake3::hash(packages.join("\n").as_bytes()).to_hex()[..32].to_owned())
}

fn publish_image(
    content: &ContentStore,
    folder: &Path,
    finished: &Finished,
    repository: &str,
    layers: &[&StackLayer],
    describe: impl FnOnce(ImageBuilder) -> ImageBuilder,
) -> Result<StackImage, StackError> {
    let name: Repository = repository.parse()?;
    let platform = Platform { architecture: "amd64".into(), os: "linux".into(), variant: None };
    let mut image = describe(ImageBuilder::new(platform));
    for layer in layers {
        put_layer(content, &name, folder, layer)?;
        let blob = Descriptor::new(media_type::LAYER_GZIP, layer.digest.clone(), layer.size);
        let history = History {
            created: Some(ImageBuilder::EPOCH.to_owned()),
            created_by: Some("Hythe: Debian packages of the stack".to_owned()),
            ..History::default()
        };
        image = image.layer(LayerDescriptor { diff_id: layer.diff_id.clone(), blob }, history);
    }
    let image = image.build()?;
    content.put_blob(&name, &image.config)?;
    let tag = free_tag(content, &name, &finished.day, &image.digest)?;
    for tag in [tag.as_str(), "latest"] {
        content.put_manifest(&name, &tag.parse()?, BuiltImage::MEDIA_TYPE, &image.manifest)?;
    }
    Ok(StackImage {
        repository: repository.to_owned(),
        tag,
        digest: image.digest,
        config: image.config,
        layers: layers.iter().map(|layer| (*layer).clone()).collect(),
    })
}

/// A tag of that day that no other image has: `20261120`, else `20261120-2` and so on.
fn free_tag(
    content: &ContentStore,
    name: &Repository,
    day: &str,
    digest: &Digest,
) -> Result<String, StackError> {
    for n in 1_u32.. {
        let tag = if n == 1 { day.to_owned() } else { format!("{day}-{n}") };
        match content.manifest(name, &Reference::Tag(tag.parse::<Tag>()?))? {
            Some(other) if other.digest != *digest => {}
            _ => return Ok(tag),
        }
    }
    Err(StackError::Definition("no tag of that day is free".into()))
}

fn put_layer(
    content: &ContentStore,
    name: &Repository,
    folder: &Path,
    layer: &StackLayer,
) -> Result<(), StackError> {
    if content.has(&layer.digest)? {
        return Ok(content.link(name, &layer.digest)?);
    }
    let path = Finished::file(folder, layer);
    let upload = content.begin()?;
    let copied = std::fs::File::open(&path).and_then(|mut from| io::copy(&mut from, &mut upload.file()));
    copied.map_err(|source| StackError::Files { operation: "copy", path, source })?;
    upload.commit_checked(name, &layer.digest)?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
