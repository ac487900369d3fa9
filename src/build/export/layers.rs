//! The layers of the image, in their order: buildpacks', bills of materials, the app's, the platform's own.

use super::{Export, Shas, Written};
use crate::base::LAUNCHER;
use crate::environment::LAYERS;
use crate::executor::Layer;
use crate::fault;
use crate::layer::write_here;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use hythe_carrier::trees::{TooMany, Tree, too_many};
use hythe_cnb::labels::{BuildpackLayers, LayerMetadata, LayerSha};
use hythe_cnb::launch::Process;
use hythe_cnb::metadata::{LaunchBuildpack, LaunchMetadata};
use hythe_cnb::output::SbomFormat;
use hythe_cnb::protocol::{Built, BuiltLayer, Outcome};
use hythe_cnb::{BuildpackId, LayerName};
use hythe_model::Fault;
use hythe_oci::{LayerDescriptor, LayerSpec, Part};
use std::collections::BTreeMap;

/// Layers that are written at the same time.
const AT_ONCE: usize = 2;

impl Export<'_> {
    /// Writes those that changed; answers all of them.
    pub(super) async fn layers(&self) -> Result<(Vec<Written>, Shas), Fault> {
        self.check_count()?;
        let mut shas = Shas::default();
        let mut written = self.buildpack_layers(&mut shas).await?;
        written.extend(self.bills_of_materials(&mut shas).await?);
        written.extend(self.app_layers(&mut shas).await?);
        written.extend(self.own_layers(&mut shas).await?);
        Ok((written, shas))
    }

    /// Refuses what no runtime could mount, before anything is written.
    fn check_count(&self) -> Result<(), Fault> {
        let below = self.task.common.base.run.manifest.layers.len();
        match too_many(self.outcome, below) {
            Some(TooMany { what, count, most }) => Err(fault::too_many(what, count, most)),
            None => Ok(()),
        }
    }

    async fn buildpack_layers(&self, shas: &mut Shas) -> Result<Vec<Written>, Fault> {
        let mut each: Vec<BoxFuture<'_, Result<_, Fault>>> = Vec::new();
        for built in &self.outcome.buildpacks {
            for (name, layer) in built.layers.iter().filter(|(_, layer)| layer.types.launch) {
                each.push(Box::pin(async move {
                    let written = self.buildpack_layer(built, name, layer).await?;
                    Ok(((&built.id, name), label_of(layer, &written.layer), written))
                }));
            }
        }
        let done: Vec<_> = stream::iter(each).buffered(AT_ONCE).try_collect().await?;

        let mut written = Vec::new();
        let mut layers: BTreeMap<&BuildpackId, BTreeMap<LayerName, LayerMetadata>> = BTreeMap::new();
        for ((id, name), metadata, one) in done {
            layers.entry(id).or_default().insert(name.clone(), metadata);
            written.push(one);
        }
        let of = |built: &Built| BuildpackLayers {
            key: built.id.clone(),
            version: built.version.clone(),
            layers: layers.get(&built.id).cloned().unwrap_or_default(),
            store: built.store.clone(),
        };
        shas.buildpacks = self.outcome.buildpacks.iter().map(of).collect();
        Ok(written)
    }

    /// One launch layer: the previous image's where the buildpack kept it without contents, the known one where nothing
    /// in it changed, a new one otherwise.
    async fn buildpack_layer(
        &self,
        built: &Built,
        name: &LayerName,
        layer: &BuiltLayer,
    ) -> Result<Written, Fault> {
        let by = format!("Layer: '{name}', Created by buildpack: {}@{}", built.id, built.version);
        if !layer.present {
            // A cached layer is restored whole: without a folder it is not what it says.
            let previous =
                Some(()).filter(|()| !layer.types.cache).and_then(|()| self.before.layer(&built.id, name));
            let layer = previous.ok_or_else(|| fault::nothing_to_reuse(&built.id, name))?;
            return Ok(Written { layer, by, known: None });
        }
        let tree = Tree::Layer { buildpack: built.id.clone(), layer: name.clone() };
        let Layer { written, known } = self.site.layer(self.before, &tree, &self.repository).await?;
        Ok(Written { layer: written, by, known })
    }

    /// `/layers/sbom/launch/<buildpack>[/<layer>]/sbom.<format>`, as far as there are any.
    async fn bills_of_materials(&self, shas: &mut Shas) -> Result<Option<Written>, Fault> {
        let Some(spec) = bills_layer(self.outcome, self.task.common.base.build_user) else { return Ok(None) };
        let layer = self.write_own(spec).await?;
        shas.sbom = Some(sha(&layer));
        Ok(Some(Written { layer, by: "Software Bill-of-Materials".to_owned(), known: None }))
    }

    /// Slices of the app, and last the rest of it.
    async fn app_layers(&self, shas: &mut Shas) -> Result<Vec<Written>, Fault> {
        let parts = self.outcome.slices.len() + 1;
        let mut written = Vec::new();
        for slice in 0..parts {
            let tree = Tree::App { slice };
            let Layer { written: layer, .. } = self.site.layer(self.before, &tree, &self.repository).await?;
            let by = if parts > 1 {
                format!("Application Slice: {}", slice + 1)
            } else {
                "Application Layer".into()
            };
            written.push(Written { layer, by, known: None });
        }
        shas.app = written.iter().map(|written| sha(&written.layer)).collect();
        Ok(written)
    }

    /// Launcher, config and process types: the platform's own layers.
    async fn own_layers(&self, shas: &mut Shas) -> Result<Vec<Written>, Fault> {
        let launcher = self.task.common.base.launcher.clone();
        let config = self.write_own(config_layer(self.outcome, self.task.common.base.build_user)?).await?;
        shas.launcher = sha(&launcher);
        shas.config = sha(&config);
        let own = |layer, by: &str| Written { layer, by: by.to_owned(), known: None };
        let mut written =
            vec![own(launcher, "Buildpacks Application Launcher"), own(config, "Buildpacks Launcher Config")];
        if !self.outcome.processes.is_empty() {
            let types = self.write_own(process_types(&self.outcome.processes)).await?;
            shas.process_types = sha(&types);
            written.push(own(types, "Buildpacks Process Types"));
        }
        Ok(written)
    }

    async fn write_own(&self, spec: LayerSpec) -> Result<LayerDescriptor, Fault> {
        self.go_on()?;
        let (content, repository) = (self.task.common.parts.content.clone(), self.repository.clone());
        let write = move || write_here(&content, &repository, &spec);
        let written = tokio::task::spawn_blocking(write).await.map_err(fault::platform("write a layer"))?;
        written.map_err(fault::own_layer)
    }
}

fn label_of(layer: &BuiltLayer, written: &LayerDescriptor) -> LayerMetadata {
    LayerMetadata {
        sha: written.diff_id.to_string(),
        data: layer.metadata.clone(),
        build: layer.types.build,
        launch: layer.types.launch,
        cache: layer.types.cache,
    }
}

fn sha(layer: &LayerDescriptor) -> LayerSha {
    LayerSha { sha: layer.diff_id.to_string() }
}

/// The bills of materials of everything in the image; `None` where no buildpack wrote one.
fn bills_layer(outcome: &Outcome, (uid, gid): (u32, u32)) -> Option<LayerSpec> {
    let mut files: BTreeMap<String, &String> = BTreeMap::new();
    for built in &outcome.buildpacks {
        let dir = format!("{LAYERS}/sbom/launch/{}", built.id.dir_name());
        let own = [(dir.clone(), &built.sboms)];
        let layers = built.layers.iter().filter(|(_, layer)| layer.types.launch);
        let of_layers = layers.map(|(name, layer)| (format!("{dir}/{name}"), &layer.sboms));
        let all: Vec<(String, &BTreeMap<SbomFormat, String>)> = own.into_iter().chain(of_layers).collect();
        for (dir, sboms) in all {
            files.extend(
                sboms.iter().map(|(format, text)| (format!("{dir}/sbom.{}", format.extension()), text)),
            );
        }
    }
    if files.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    for (target, text) in files {
        let folders = target.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(end, _)| &target[..end]);
        parts.extend(folders.map(|dir| Part::Dir { target: dir.to_owned(), mode: 0o755, uid, gid }));
        let content = text.clone().into_bytes();
        parts.push(Part::File { target: target.clone(), content, mode: 0o644, uid, gid });
    }
    Some(LayerSpec::new(parts))
}

/// metadata.toml, which the launcher reads.
fn config_layer(outcome: &Outcome, (uid, gid): (u32, u32)) -> Result<LayerSpec, Fault> {
    let buildpack = |built: &Built| LaunchBuildpack { api: built.api.clone(), id: built.id.clone() };
    let metadata = LaunchMetadata {
        processes: outcome.processes.clone(),
        buildpacks: outcome.buildpacks.iter().map(buildpack).collect(),
    };
    let text = metadata.to_toml().map_err(fault::platform("write metadata.toml"))?;
    let dir = |target: String| Part::Dir { target, mode: 0o755, uid, gid };
    let target = format!("{LAYERS}/config/metadata.toml");
    let file = Part::File { target, content: text.into_bytes(), mode: 0o644, uid, gid };
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
