//! From what a build has left to a published image, layers straight into the content store.
//!
//! The order of layers, the config and the labels follow the Platform specification, "Exporting", and the reference
//! exporter where it says more. The trusted side writes everything; what the lifecycle said is checked where it is used.
//! `layers` writes what changed, `config` says what the image is of.

mod config;
mod layers;

use crate::Common;
use crate::analyze::Before;
use crate::cache::{Index, Known};
use crate::environment::EXEC_ENV;
use crate::executor::{Site, Task};
use crate::fault;
use hythe_cnb::labels::{BuildpackLayers, LayerSha};
use hythe_cnb::launch::Process;
use hythe_cnb::protocol::Outcome;
use hythe_model::render::size;
use hythe_model::{BuildEvent, Digest, Fault, Phase, PublishedImage, ToolName};
use hythe_oci::{BuiltImage, Descriptor, LayerDescriptor};
use hythe_registry::{ContentStore, Reference, RegistryError, Repository};
use std::collections::HashSet;
use std::time::Instant;

/// A layer of the new image, in its place.
struct Written {
    layer: LayerDescriptor,
    /// What the history says made it, in the reference's words.
    by: String,
    known: Option<Known>,
}

/// What the labels say of the layers.
#[derive(Default)]
struct Shas {
    app: Vec<LayerSha>,
    sbom: Option<LayerSha>,
    buildpacks: Vec<BuildpackLayers>,
    config: LayerSha,
    process_types: LayerSha,
    launcher: LayerSha,
}

/// One export, under way.
struct Export<'a> {
    task: Task<'a>,
    site: &'a dyn Site,
    before: &'a Before,
    outcome: &'a Outcome,
    repository: Repository,
}

/// Writes what changed and publishes the image; also answers what is worth keeping for the next build. Cancelling counts at any
/// time, until the image is published.
pub(crate) async fn export(
    task: Task<'_>,
    site: &dyn Site,
    before: &Before,
) -> Result<(PublishedImage, Index), Fault> {
    let begun = Instant::now();
    let (outcome, repository) = (site.outcome(), Repository::of_tool(&task.request.tool));
    let export = Export { task, site, before, outcome, repository };
    let (written, shas) = export.layers().await?;
    let known = written.iter().filter_map(|written| written.known.clone()).collect();
    let image = export.assemble(written, shas)?;
    export.go_on()?;
    let published = export.publish(image).await?;
    let text = format!(
        "{} of {} layers new, {} of {}",
        published.new_layers,
        published.layers,
        size(published.new_bytes),
        size(published.bytes)
    );
    let millis = u64::try_from(begun.elapsed().as_millis()).ok();
    task.events.event(BuildEvent::Note { phase: Phase::Image, text, millis });
    Ok((published, Index::of(task.common.base.build.digest.clone(), outcome, known)))
}

impl Export<'_> {
    fn go_on(&self) -> Result<(), Fault> {
        if self.task.cancel.is_cancelled() { Err(fault::cancelled()) } else { Ok(()) }
    }

    /// Links every blob to the tool's repository and stores the manifest last, so that a name never precedes its content.
    async fn publish(
        &self,
        (image, layers): (BuiltImage, Vec<LayerDescriptor>),
    ) -> Result<PublishedImage, Fault> {
        let base = &self.task.common.base.run.manifest.layers;
        let old = self.before.image.iter().flat_map(|image| &image.manifest.layers);
        let old: HashSet<&Digest> = base.iter().chain(old).map(|blob| &blob.digest).collect();
        let all: Vec<Descriptor> =
            base.iter().cloned().chain(layers.into_iter().map(|layer| layer.blob)).collect();
        let new: Vec<_> = all.iter().filter(|blob| !old.contains(&blob.digest)).collect();
        let published = PublishedImage {
            repository: self.repository.as_str().to_owned(),
            digest: image.digest.clone(),
            bytes: all.iter().map(|blob| blob.size).sum(),
            layers: all.len(),
            new_layers: new.len(),
            new_bytes: new.iter().map(|blob| blob.size).sum(),
            processes: processes(self.outcome),
        };
        let (content, repository) = (self.task.common.parts.content.clone(), self.repository.clone());
        let linking = move || all.iter().try_for_each(|blob| content.link(&repository, &blob.digest));
        let linked =
            tokio::task::spawn_blocking(linking).await.map_err(fault::platform("publish the image"))?;
        linked.map_err(fault::registry)?;
        // What was written counts, whether it becomes an image or not.
        expect_room(self.task.common, &self.task.request.tool).await?;
        let (content, repository) = (self.task.common.parts.content.clone(), self.repository.clone());
        let store = move || store(&content, &repository, &image);
        let stored =
            tokio::task::spawn_blocking(store).await.map_err(fault::platform("publish the image"))?;
        stored.map_err(fault::registry)?;
        Ok(published)
    }
}

/// A fault where the images of a tool have more bytes than they may.
pub(crate) async fn expect_room(common: &Common, tool: &ToolName) -> Result<(), Fault> {
    let base: HashSet<_> = common.base.run.manifest.layers.iter().map(|blob| blob.digest.clone()).collect();
    let (content, repository) = (common.parts.content.clone(), Repository::of_tool(tool));
    let counting = move || content.linked_bytes(&repository, &base);
    let bytes = tokio::task::spawn_blocking(counting).await.map_err(fault::platform("count images"))?;
    let (bytes, most) = (bytes.map_err(fault::registry)?, common.parts.limits.images_bytes);
    if bytes > most { Err(fault::images_too_large(tool, bytes, most)) } else { Ok(()) }
}

fn store(content: &ContentStore, repository: &Repository, image: &BuiltImage) -> Result<(), RegistryError> {
    content.put_blob(repository, &image.config)?;
    let reference = Reference::Digest(image.digest.clone());
    content.put_manifest(repository, &reference, BuiltImage::MEDIA_TYPE, &image.manifest)?;
    Ok(())
}

/// What the platform can run of the image.
fn processes(outcome: &Outcome) -> Vec<hythe_model::Process> {
    let one = |process: &Process| {
        let words = process.command.iter().chain(&process.args);
        let kind = process.kind.as_str().parse().ok()?;
        Some(hythe_model::Process { kind, command: words.cloned().collect::<Vec<_>>().join(" ") })
    };
    outcome.processes.iter().filter(|process| process.runs_in(EXEC_ENV)).filter_map(one).collect()
}
