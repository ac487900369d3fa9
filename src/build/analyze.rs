//! What earlier builds left: the previous image's metadata, and the cached layers.

use crate::cache::{Bills, Found, Index};
use crate::executor::Executor;
use crate::{BuildRequest, Common, EventSink, fault};
use hythe_cnb::labels::{LIFECYCLE_METADATA, LifecycleMetadata};
use hythe_cnb::output::SbomFormat;
use hythe_cnb::protocol::{Restore, RestoreLayer};
use hythe_cnb::{BuildpackId, LayerName};
use hythe_model::{BuildEvent, Fault, Phase};
use hythe_oci::LayerDescriptor;
use hythe_registry::{Reference, Repository, StoredImage};
use std::collections::BTreeMap;

/// What earlier builds left.
#[derive(Default)]
pub(crate) struct Before {
    /// The cached layers; empty where they are of no use.
    pub(crate) index: Index,
    /// The previous image.
    pub(crate) image: Option<StoredImage>,
    /// What its label says.
    pub(crate) metadata: Option<LifecycleMetadata>,
}

impl Before {
    /// Leaves nothing but what buildpacks keep apart from layers, which always comes back.
    pub(crate) fn forget_layers(&mut self, index: Option<Index>) {
        self.index =
            Index { stores: index.map(|index| index.stores).unwrap_or_default(), ..Index::default() };
        for buildpack in self.metadata.iter_mut().flat_map(|metadata| &mut metadata.buildpacks) {
            buildpack.layers.clear();
        }
    }

    fn bills(&self, buildpack: &BuildpackId, layer: &LayerName) -> BTreeMap<SbomFormat, String> {
        let of = |bills: &&Bills| &bills.buildpack == buildpack && &bills.layer == layer;
        self.index.bills.iter().find(of).map(|bills| bills.sboms.clone()).unwrap_or_default()
    }

    /// What each buildpack gets back (cnb: cached layers metadata and contents, launch-only ones metadata, and the store).
    pub(crate) fn restore(&self) -> BTreeMap<BuildpackId, Restore> {
        let mut restore: BTreeMap<BuildpackId, Restore> = BTreeMap::new();
        for buildpack in self.metadata.iter().flat_map(|metadata| &metadata.buildpacks) {
            let entry = restore.entry(buildpack.key.clone()).or_default();
            entry.store.clone_from(&buildpack.store);
            for (name, layer) in &buildpack.layers {
                if layer.launch && !layer.build && !layer.cache {
                    let sboms = self.bills(&buildpack.key, name);
                    let back = RestoreLayer { metadata: layer.data.clone(), sboms };
                    entry.layers.insert(name.clone(), back);
                }
            }
        }
        for (buildpack, store) in &self.index.stores {
            restore.entry(buildpack.clone()).or_default().store = Some(store.clone());
        }
        for slice in &self.index.slices {
            let entry = restore.entry(slice.buildpack.clone()).or_default();
            let back = RestoreLayer { metadata: slice.metadata.clone(), sboms: slice.sboms.clone() };
            entry.layers.insert(slice.layer.clone(), back);
        }
        restore
    }

    /// The layer that the previous image has of a buildpack.
    pub(crate) fn layer(&self, buildpack: &BuildpackId, layer: &LayerName) -> Option<LayerDescriptor> {
        let of_buildpack = self.metadata.as_ref()?.buildpacks.iter().find(|found| &found.key == buildpack)?;
        self.image.as_ref()?.layer(&of_buildpack.layers.get(layer)?.sha.parse().ok()?)
    }
}

/// Says something of the cache.
pub(crate) fn say_of_cache(events: &dyn EventSink, text: &str) {
    let text = format!("cache            {text}");
    events.event(BuildEvent::Note { phase: Phase::Detect, text, millis: None });
}

impl Common {
    /// Looks at what is there; says why a cache is not used.
    pub(crate) async fn analyze(
        &self,
        executor: &dyn Executor,
        request: &BuildRequest,
        events: &dyn EventSink,
    ) -> Result<Before, Fault> {
        let say = |text: &str| say_of_cache(events, text);
        let (image, metadata) = self.previous(request).await?.unzip();
        let mut before = Before { image, metadata: metadata.flatten(), ..Before::default() };
        match executor.cached(self, &request.tool).await? {
            Found::Useless(why, index) => {
                say(&format!("not used: {why}"));
                before.forget_layers(index);
            }
            Found::Index(index) if request.no_cache => {
                say("not used: the push asked for no-cache");
                before.forget_layers(Some(index));
            }
            Found::Nothing if request.no_cache => {
                say("not used: the push asked for no-cache");
                before.forget_layers(None);
            }
            Found::Nothing if before.image.is_none() => say("empty: this is the first build"),
            Found::Nothing => say("empty: the build before kept nothing"),
            Found::Index(index) if index.stack != self.base.build.digest => {
                say("not used: the stack has changed");
                before.forget_layers(Some(index));
            }
            Found::Index(index) => {
                before.index = index;
            }
        }
        Ok(before)
    }

    async fn previous(
        &self,
        request: &BuildRequest,
    ) -> Result<Option<(StoredImage, Option<LifecycleMetadata>)>, Fault> {
        let Some(digest) = request.previous.clone() else { return Ok(None) };
        let (content, repository) = (self.parts.content.clone(), Repository::of_tool(&request.tool));
        let read = move || content.image(&repository, &Reference::Digest(digest));
        let image =
            tokio::task::spawn_blocking(read).await.map_err(fault::platform("read the previous image"))?;
        // An image that cannot be read is no reason not to make a new one.
        let image = image.unwrap_or_else(|error| {
            tracing::warn!(tool = %request.tool, %error, "the previous image cannot be read");
            None
        });
        Ok(image.map(|image| {
            let label = image.config.config.labels.get(LIFECYCLE_METADATA);
            let metadata = label.and_then(|text| serde_json::from_str(text).ok());
            (image, metadata)
        }))
    }
}
