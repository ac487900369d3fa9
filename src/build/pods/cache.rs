//! A tool's cached layers as an artifact of the registry, `caches/<tool>:latest`: the index is its config, the layers are its blobs.

use super::parcel::{blocking, take_out};
use crate::cache::{Candidate, Found, INDEX_MAX, Index, Place, Slice, UNREADABLE, that_fit};
use crate::executor::Task;
use crate::{Common, fault};
use hythe_carrier::Delivery;
use hythe_carrier::trees::Tree;
use hythe_cnb::{BuildpackId, LayerName};
use hythe_model::{Fault, ToolName};
use hythe_oci::{Descriptor, Hasher, LayerDescriptor, Manifest, media_type};
use hythe_registry::{ContentStore, Reference, RegistryError, Repository, Tag};
use std::io::Read;

/// Media type of the index.
const INDEX: &str = "application/vnd.hythe.cache.v1+json";
const LATEST: &str = "latest";

fn repository(tool: &ToolName) -> Result<Repository, Fault> {
    format!("caches/{tool}").parse().map_err(fault::platform("name a cache"))
}

fn latest() -> Result<Tag, Fault> {
    LATEST.parse().map_err(fault::platform("name a cache"))
}

/// A tool's index, where all of its layers are there.
pub(crate) async fn read(common: &Common, tool: &ToolName) -> Result<Found, Fault> {
    let (content, repository, tag) = (common.parts.content.clone(), repository(tool)?, latest()?);
    let reading = tokio::task::spawn_blocking(move || read_here(&content, &repository, tag));
    let found = reading.await.map_err(fault::platform("read a cache"))?;
    Ok(found.unwrap_or_else(|error| {
        tracing::warn!(%tool, %error, "a cache cannot be read");
        Found::Useless(UNREADABLE, None)
    }))
}

fn read_here(content: &ContentStore, repository: &Repository, tag: Tag) -> Result<Found, RegistryError> {
    let Some(stored) = content.manifest(repository, &Reference::Tag(tag))? else { return Ok(Found::Nothing) };
    let Ok(manifest) = Manifest::parse(&stored.bytes) else { return Ok(Found::Useless(UNREADABLE, None)) };
    let mut bytes = Vec::new();
    let file = content.open_blob(&manifest.config.digest)?;
    let read = file.take(INDEX_MAX).read_to_end(&mut bytes);
    let index = read.ok().and_then(|_| serde_json::from_slice::<Index>(&bytes).ok());
    let Some(index) = index else { return Ok(Found::Useless(UNREADABLE, None)) };
    for slice in &index.slices {
        let there = match &slice.place {
            Place::Blob(written) => content.linked(repository, &written.blob.digest)?,
            Place::Folder(_) => false,
        };
        if !there {
            return Ok(Found::Useless(UNREADABLE, Some(index)));
        }
    }
    Ok(Found::Index(index))
}

/// Keeps the cached layers of a build that went well; the index last.
pub(crate) async fn keep(task: Task<'_>, delivery: &Delivery, mut index: Index) -> Result<(), Fault> {
    let (common, tool) = (task.common, &task.request.tool);
    let repository = repository(tool)?;
    let mut candidates = Vec::new();
    for built in &delivery.outcome.buildpacks {
        for (name, layer) in built.layers.iter().filter(|(_, layer)| layer.types.cache && layer.present) {
            let bytes = written(delivery, &built.id, name)?.blob.size;
            candidates.push(Candidate { built, name, layer, bytes });
        }
    }
    let mut blobs: Vec<Descriptor> = Vec::new();
    let kept = that_fit(candidates, common.parts.limits.cache_bytes, task.events);
    for Candidate { built, name, layer, bytes } in kept {
        let written = written(delivery, &built.id, name)?;
        take_out(task, &repository, written).await?;
        blobs.push(written.blob.clone());
        index.slices.push(Slice::of(built, name, layer, Place::Blob(written.clone()), bytes));
    }
    let (content, tag) = (common.parts.content.clone(), latest()?);
    blocking("write a cache", move || write_here(&content, &repository, tag, &index, &blobs)).await
}

fn written<'d>(
    delivery: &'d Delivery,
    buildpack: &BuildpackId,
    layer: &LayerName,
) -> Result<&'d LayerDescriptor, Fault> {
    let tree = Tree::Layer { buildpack: buildpack.clone(), layer: layer.clone() };
    super::find(delivery, &tree)
}

fn write_here(
    content: &ContentStore,
    repository: &Repository,
    tag: Tag,
    index: &Index,
    layers: &[Descriptor],
) -> Result<(), RegistryError> {
    let bytes = serde_json::to_vec(index).unwrap_or_default();
    content.put_blob(repository, &bytes)?;
    let config = Descriptor::new(INDEX, Hasher::digest(&bytes), bytes.len() as u64);
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::MANIFEST,
        "artifactType": INDEX,
        "config": config,
        "layers": layers,
    });
    let manifest = manifest.to_string();
    content.put_manifest(repository, &Reference::Tag(tag), media_type::MANIFEST, manifest.as_bytes())?;
    Ok(())
}

/// Removes a tool's cache.
pub(crate) async fn forget(common: &Common, tool: &ToolName) -> Result<(), Fault> {
    let (content, repository) = (common.parts.content.clone(), repository(tool)?);
    blocking("remove a cache", move || content.delete_repository(&repository)).await
}
