//! From the sandbox's folders to a published image, layers straight into the content store.
//!
//! The order of layers, the config and the labels follow the Platform specification, "Exporting", and the reference
//! exporter where it says more. The trusted side writes everything; what the lifecycle said is checked where it is used.

use crate::analyze::Before;
use crate::base::LAUNCHER;
use crate::cache::Known;
use crate::folder::Folder;
use crate::image::{COMPRESSION, write_here};
use crate::run::{APP, LAYERS};
use crate::{BuildRequest, EventSink, Inner, fault};
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use hythe_cnb::labels::{self, BuildpackLayers, LayerMetadata, LayerSha};
use hythe_cnb::launch::Process;
use hythe_cnb::metadata::{LaunchBuildpack, LaunchMetadata};
use hythe_cnb::protocol::{Built, BuiltLayer, Outcome};
use hythe_cnb::{LayerName, PLATFORM_API};
use hythe_model::render::size;
use hythe_model::{BuildEvent, Digest, Fault, Phase, PublishedImage};
use hythe_oci::image::History;
use hythe_oci::{BuiltImage, Descriptor, Filter, ImageBuilder, LayerDescriptor, LayerSpec, Owner, Part};
use hythe_registry::{ContentStore, Reference, RegistryError, Repository};
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

/// Layers that are written at the same time.
const AT_ONCE: usize = 2;

/// What was exported besides the image.
#[derive(Default)]
pub(crate) struct Exported {
    /// Launch layers as they were written.
    pub(crate) known: Vec<Known>,
}

/// A layer of the new image, in its place.
struct Written {
    layer: LayerDescriptor,
    by: String,
    known: Option<Known>,
}

/// What the labels say of the layers.
#[derive(Default)]
struct Shas {
    app: Vec<LayerSha>,
    buildpacks: Vec<BuildpackLayers>,
    config: LayerSha,
    process_types: LayerSha,
    launcher: LayerSha,
}

impl Inner {
    /// Writes what changed and publishes the image.
    pub(crate) async fn export(
        &self,
        folder: &Folder,
        request: &BuildRequest,
        before: &Before,
        outcome: &Outcome,
        events: &dyn EventSink,
    ) -> Result<(PublishedImage, Exported), Fault> {
        let begun = Instant::now();
        let repository = Repository::of_tool(&request.tool);
        let mut shas = Shas::default();
        let mut written = self.buildpack_layers(folder, &repository, before, outcome, &mut shas).await?;
        written.extend(self.app_layers(folder, &repository, outcome, &mut shas).await?);
        written.extend(self.own_layers(&repository, outcome, &mut shas).await?);

        let known = written.iter().filter_map(|written| written.known.clone()).collect();
        let image = self.assemble(request, outcome, written, shas)?;
        let published = self.publish(repository, before, image, outcome).await?;
        let text = format!(
            "{} of {} layers new, {} of {}",
            published.new_layers,
            published.layers,
            size(published.new_bytes),
            size(published.bytes)
        );
        let millis = u64::try_from(begun.elapsed().as_millis()).ok();
        events.event(BuildEvent::Note { phase: Phase::Image, text, millis });
        Ok((published, Exported { known }))
    }

    async fn buildpack_layers(
        &self,
        folder: &Folder,
        repository: &Repository,
        before: &Before,
        outcome: &Outcome,
        shas: &mut Shas,
    ) -> Result<Vec<Written>, Fault> {
        let mut each: Vec<BoxFuture<'_, Result<_, Fault>>> = Vec::new();
        for built in &outcome.buildpacks {
            for (name, layer) in built.layers.iter().filter(|(_, layer)| layer.types.launch) {
                each.push(Box::pin(async move {
                    let written =
                        self.buildpack_layer(folder, repository, before, built, name, layer).await?;
                    Ok((built, name, layer, written))
                }));
            }
        }
        let done: Vec<_> = stream::iter(each).buffered(AT_ONCE).try_collect().await?;

        let mut written = Vec::new();
        let mut layers: BTreeMap<String, BTreeMap<LayerName, LayerMetadata>> = BTreeMap::new();
        for (built, name, layer, one) in done {
            let metadata = LayerMetadata {
                sha: one.layer.diff_id.to_string(),
                data: layer.metadata.clone(),
                build: layer.types.build,
                launch: layer.types.launch,
                cache: layer.types.cache,
            };
            layers.entry(built.id.to_string()).or_default().insert(name.clone(), metadata);
            written.push(one);
        }
        shas.buildpacks = outcome
            .buildpacks
            .iter()
            .map(|built| BuildpackLayers {
                key: built.id.clone(),
                version: built.version.clone(),
                layers: layers.remove(&built.id.to_string()).unwrap_or_default(),
                store: built.store.clone(),
            })
            .collect();
        Ok(written)
    }

    /// One launch layer: the previous image's where the buildpack kept it without contents, the known one where nothing
    /// in it changed, a new one otherwise.
    async fn buildpack_layer(
        &self,
        folder: &Folder,
        repository: &Repository,
        before: &Before,
        built: &Built,
        name: &LayerName,
        layer: &BuiltLayer,
    ) -> Result<Written, Fault> {
        let by = format!("{}:{name}", built.id);
        if !layer.present {
            let previous = before.layer(&built.id, name).ok_or_else(|| nothing_to_reuse(&by))?;
            return Ok(Written { layer: previous, by, known: None });
        }
        let below = format!("{}/{name}", built.id.dir_name());
        let source = folder.layers()?.join(&below).map_err(fault::platform("name a layer"))?;
        let spec = self.tree(source.as_str(), &format!("{LAYERS}/{below}"), Filter::default());
        let of = |known: &&Known| known.buildpack == built.id && &known.layer == name;
        if let Some(known) = before.index.known.iter().find(of) {
            let now =
                self.parts.helper.fingerprint(&spec).await.map_err(fault::platform("look at a layer"))?;
            if now == known.fingerprint && self.parts.content.has(&known.written.blob.digest).unwrap_or(false)
            {
                return Ok(Written { layer: known.written.clone(), by, known: Some(known.clone()) });
            }
        }
        let (layer, fingerprint) = self.pack(repository, spec).await?;
        let known =
            Known { buildpack: built.id.clone(), layer: name.clone(), fingerprint, written: layer.clone() };
        Ok(Written { layer, by, known: Some(known) })
    }

    /// Slices of the app, and last the rest of it.
    async fn app_layers(
        &self,
        folder: &Folder,
        repository: &Repository,
        outcome: &Outcome,
        shas: &mut Shas,
    ) -> Result<Vec<Written>, Fault> {
        let workspace = folder.workspace()?;
        let mut taken: Vec<String> = Vec::new();
        let mut written = Vec::new();
        for slice in &outcome.slices {
            let filter = Filter { include: slice.paths.clone(), exclude: taken.clone() };
            let (layer, _) = self.pack(repository, self.tree(workspace.as_str(), APP, filter)).await?;
            taken.extend(slice.paths.iter().cloned());
            written.push(Written { layer, by: "app slice".to_owned(), known: None });
        }
        let filter = Filter { include: Vec::new(), exclude: taken };
        let (layer, _) = self.pack(repository, self.tree(workspace.as_str(), APP, filter)).await?;
        written.push(Written { layer, by: "app".to_owned(), known: None });
        shas.app = written.iter().map(|written| sha(&written.layer)).collect();
        Ok(written)
    }

    /// Launcher, config and process types: the platform's own layers.
    async fn own_layers(
        &self,
        repository: &Repository,
        outcome: &Outcome,
        shas: &mut Shas,
    ) -> Result<Vec<Written>, Fault> {
        let config = self.write_own(repository, config_layer(outcome, self.base.build_user)?).await?;
        let types = self.write_own(repository, process_types(&outcome.processes)).await?;
        shas.launcher = sha(&self.base.launcher);
        shas.config = sha(&config);
        shas.process_types = sha(&types);
        let named = [(self.base.launcher.clone(), "launcher"), (config, "config"), (types, "process types")];
        Ok(named.into_iter().map(|(layer, by)| Written { layer, by: by.to_owned(), known: None }).collect())
    }

    async fn write_own(&self, repository: &Repository, spec: LayerSpec) -> Result<LayerDescriptor, Fault> {
        let (content, repository) = (self.parts.content.clone(), repository.clone());
        let write = move || write_here(&content, &repository, &spec);
        let written = tokio::task::spawn_blocking(write).await.map_err(fault::platform("write a layer"))?;
        written.map_err(fault::platform("write a layer"))
    }

    /// Packs a layer inside the helper's namespace, straight into an upload of the content store.
    async fn pack(
        &self,
        repository: &Repository,
        spec: LayerSpec,
    ) -> Result<(LayerDescriptor, hythe_oci::Fingerprint), Fault> {
        let upload = self.parts.content.begin().map_err(fault::platform("begin a layer"))?;
        let out = upload.file().try_clone().map_err(fault::platform("begin a layer"))?;
        let info = self.parts.helper.pack(spec, COMPRESSION, out).await.map_err(export_failed)?;
        let (repository, digest, bytes) = (repository.clone(), info.digest.clone(), info.size);
        let commit = move || upload.commit(&repository, &digest, bytes);
        let committed = tokio::task::spawn_blocking(commit).await.map_err(fault::platform("keep a layer"))?;
        committed.map_err(export_failed)?;
        Ok((LayerDescriptor::of(&info, COMPRESSION), info.fingerprint))
    }

    /// A folder of the build as a layer: entries belong to the build user, parents keep their mode and owner.
    fn tree(&self, source: &str, target: &str, filter: Filter) -> LayerSpec {
        let (uid, gid) = self.base.build_user;
        LayerSpec::new(vec![
            Part::Parents { source: source.into(), target: target.to_owned() },
            Part::Tree {
                source: source.into(),
                target: target.to_owned(),
                owner: Owner::Fixed { uid, gid },
                filter,
                whiteouts: false,
            },
        ])
    }

    /// Config and manifest.
    fn assemble(
        &self,
        request: &BuildRequest,
        outcome: &Outcome,
        written: Vec<Written>,
        shas: Shas,
    ) -> Result<(BuiltImage, Vec<LayerDescriptor>), Fault> {
        let (manifest, config) = &self.base.run;
        let path = config
            .env("PATH")
            .unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .to_owned();
        let mut image =
            ImageBuilder::from_base(manifest, config).map_err(fault::platform("read the run image"))?;
        let layers: Vec<_> = written.iter().map(|written| written.layer.clone()).collect();
        for one in written {
            let history = History {
                created: Some(ImageBuilder::EPOCH.to_owned()),
                created_by: Some(one.by),
                ..History::default()
            };
            image = image.layer(one.layer, history);
        }
        for label in &outcome.labels {
            if !label.key.starts_with(labels::RESERVED_PREFIX) {
                image = image.label(&label.key, &label.value);
            }
        }
        for (name, value) in self.labels(request, outcome, shas)? {
            image = image.label(name, value);
        }
        image = image
            .env("CNB_LAYERS_DIR", LAYERS)
            .env("CNB_APP_DIR", APP)
            .env("CNB_PLATFORM_API", PLATFORM_API)
            .env("CNB_DEPRECATION_MODE", "quiet")
            .env("PATH", &format!("/cnb/process:/cnb/lifecycle:{path}"))
            .entrypoint([entrypoint(outcome)])
            .working_dir(APP);
        let built = image.build().map_err(fault::platform("write the image's config"))?;
        Ok((built, layers))
    }

    fn labels(
        &self,
        request: &BuildRequest,
        outcome: &Outcome,
        shas: Shas,
    ) -> Result<[(&'static str, String); 3], Fault> {
        let stack = &self.parts.stack.run;
        let top = self.base.run.1.rootfs.diff_ids.last().map(ToString::to_string).unwrap_or_default();
        let lifecycle = labels::LifecycleMetadata {
            app: shas.app,
            sbom: None,
            buildpacks: shas.buildpacks,
            config: shas.config,
            launcher: shas.launcher,
            process_types: shas.process_types,
            run_image: labels::RunImage {
                top_layer: top,
                reference: format!("{}@{}", stack.repository, stack.digest),
                image: format!("{}:{}", stack.repository, stack.tag),
                mirrors: Vec::new(),
            },
        };
        let build = labels::BuildMetadata {
            buildpacks: outcome
                .buildpacks
                .iter()
                .map(|built| labels::BuiltWith {
                    id: built.id.clone(),
                    version: built.version.clone(),
                    homepage: built.homepage.clone(),
                })
                .collect(),
            launcher: labels::Launcher { version: env!("CARGO_PKG_VERSION").to_owned() },
            processes: outcome.processes.iter().cloned().map(Into::into).collect(),
            default: outcome.default.clone(),
        };
        let project = labels::ProjectMetadata {
            source: Some(labels::ProjectSource {
                kind: "git".to_owned(),
                version: BTreeMap::from([("commit".to_owned(), request.source.commit.to_string())]),
                metadata: BTreeMap::new(),
            }),
        };
        Ok([
            (labels::LIFECYCLE_METADATA, json(&lifecycle)?),
            (labels::BUILD_METADATA, json(&build)?),
            (labels::PROJECT_METADATA, json(&project)?),
        ])
    }

    /// Links every blob to the tool's repository and stores the manifest last, so that a name never precedes its content.
    async fn publish(
        &self,
        repository: Repository,
        before: &Before,
        (image, layers): (BuiltImage, Vec<LayerDescriptor>),
        outcome: &Outcome,
    ) -> Result<PublishedImage, Fault> {
        let base = &self.base.run.0.layers;
        let old = before.image.iter().flat_map(|(manifest, _)| &manifest.layers);
        let old: HashSet<&Digest> = base.iter().chain(old).map(|blob| &blob.digest).collect();
        let all: Vec<Descriptor> =
            base.iter().cloned().chain(layers.into_iter().map(|layer| layer.blob)).collect();
        let new: Vec<_> = all.iter().filter(|blob| !old.contains(&blob.digest)).collect();
        let published = PublishedImage {
            repository: repository.as_str().to_owned(),
            digest: image.digest.clone(),
            bytes: all.iter().map(|blob| blob.size).sum(),
            layers: all.len(),
            new_layers: new.len(),
            new_bytes: new.iter().map(|blob| blob.size).sum(),
            processes: processes(outcome),
        };
        let content = self.parts.content.clone();
        let store = move || store(&content, &repository, &all, &image);
        let stored =
            tokio::task::spawn_blocking(store).await.map_err(fault::platform("publish the image"))?;
        stored.map_err(export_failed)?;
        Ok(published)
    }
}

fn store(
    content: &ContentStore,
    repository: &Repository,
    layers: &[Descriptor],
    image: &BuiltImage,
) -> Result<(), RegistryError> {
    for blob in layers {
        content.link(repository, &blob.digest)?;
    }
    content.put_blob(repository, &image.config)?;
    let reference = Reference::Digest(image.digest.clone());
    content.put_manifest(repository, &reference, BuiltImage::MEDIA_TYPE, &image.manifest)?;
    Ok(())
}

fn processes(outcome: &Outcome) -> Vec<hythe_model::Process> {
    let one = |process: &Process| {
        let words = process.command.iter().chain(&process.args);
        let kind = process.kind.as_str().parse().ok()?;
        Some(hythe_model::Process { kind, command: words.cloned().collect::<Vec<_>>().join(" ") })
    };
    outcome.processes.iter().filter_map(one).collect()
}

/// The default process, or `web`, or the launcher where there is neither.
fn entrypoint(outcome: &Outcome) -> String {
    let web =
        outcome.processes.iter().find(|process| process.kind.as_str() == "web").map(|process| &process.kind);
    match outcome.default.as_ref().or(web) {
        Some(kind) => format!("/cnb/process/{kind}"),
        None => LAUNCHER.to_owned(),
    }
}

/// metadata.toml, which the launcher reads.
fn config_layer(outcome: &Outcome, (uid, gid): (u32, u32)) -> Result<LayerSpec, Fault> {
    let metadata = LaunchMetadata {
        processes: outcome.processes.clone(),
        buildpacks: outcome
            .buildpacks
            .iter()
            .map(|built| LaunchBuildpack { api: built.api.clone(), id: built.id.clone() })
            .collect(),
    };
    let text = metadata.to_toml().map_err(fault::platform("write metadata.toml"))?;
    let dir = |target: String| Part::Dir { target, mode: 0o755, uid, gid };
    let file = Part::File {
        target: format!("{LAYERS}/config/metadata.toml"),
        content: text.into_bytes(),
        mode: 0o644,
        uid,
        gid,
    };
    Ok(LayerSpec::new(vec![dir(LAYERS.to_owned()), dir(format!("{LAYERS}/config")), file]))
}

/// `/cnb/process/<type>`, each a link to the launcher; root's.
fn process_types(processes: &[Process]) -> LayerSpec {
    let dir = |target: &str| Part::Dir { target: target.to_owned(), mode: 0o755, uid: 0, gid: 0 };
    let link = |process: &Process| Part::Symlink {
        target: format!("/cnb/process/{}", process.kind),
        link: LAUNCHER.to_owned(),
        uid: 0,
        gid: 0,
    };
    LayerSpec::new([dir("/cnb"), dir("/cnb/process")].into_iter().chain(processes.iter().map(link)).collect())
}

fn sha(layer: &LayerDescriptor) -> LayerSha {
    LayerSha { sha: layer.diff_id.to_string() }
}

fn json(value: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(fault::platform("write a label"))
}

fn nothing_to_reuse(layer: &str) -> Fault {
    Fault::new(
        "export/nothing-to-reuse",
        format!("The build failed: the layer {layer} is to be reused, and the previous image has none."),
    )
    .why("The buildpack made a launch layer without a folder.")
    .next("Build without the cache: git push -o no-cache hythe main")
}

fn export_failed<E: std::fmt::Display>(error: E) -> Fault {
    fault::platform("export the image")(error)
}
