//! Makes an image of layers: config and manifest with stable bytes.

use super::{
    Descriptor, History, ImageConfig, ImageError, Manifest, Platform, RootFs, RunConfig, media_type,
};
use crate::{Compression, Hasher, LayerInfo};
use hythe_model::Digest;
use serde::{Deserialize, Serialize};

/// A layer of an image: its uncompressed digest, and the blob that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerDescriptor {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// The blob.
    pub blob: Descriptor,
}

impl LayerDescriptor {
    /// The descriptor of a layer that was just written.
    pub fn of(info: &LayerInfo, compression: Compression) -> Self {
        let kind = match compression {
            Compression::Gzip { .. } => media_type::LAYER_GZIP,
            Compression::Zstd { .. } => media_type::LAYER_ZSTD,
            Compression::None => media_type::LAYER,
        };
        Self { diff_id: info.diff_id.clone(), blob: Descriptor::new(kind, info.digest.clone(), info.size) }
    }
}

/// Both documents of an image, ready to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// The config's bytes.
    pub config: Vec<u8>,
    /// Their digest.
    pub config_digest: Digest,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// Their digest, which is the image's.
    pub digest: Digest,
}

impl BuiltImage {
    /// The manifest's media type.
    pub const MEDIA_TYPE: &'static str = media_type::MANIFEST;
}

/// An image in the making.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    config: ImageConfig,
    layers: Vec<Descriptor>,
}

impl ImageBuilder {
    /// The time that everything reproducible bears.
    pub const EPOCH: &'static str = "1980-01-01T00:00:01Z";

    /// An image without layers.
    pub fn new(platform: Platform) -> Self {
        let rootfs = RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() };
        let config = ImageConfig {
            created: Some(Self::EPOCH.to_owned()),
            author: None,
            platform,
            config: RunConfig::default(),
            rootfs,
            history: Vec::new(),
        };
        Self { config, layers: Vec::new() }
    }

    /// An image that begins with all of another: layers, history, environment, labels.
    pub fn from_base(manifest: &Manifest, config: &ImageConfig) -> Result<Self, ImageError> {
        let (blobs, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if blobs != diff_ids {
            let why = format!("the manifest has {blobs} layers, the config {diff_ids}");
            return Err(super::invalid("config", why));
        }
        let mut layers = manifest.layers.clone();
        for layer in &mut layers {
            if layer.media_type == media_type::DOCKER_LAYER {
                media_type::LAYER_GZIP.clone_into(&mut layer.media_type);
            }
        }
        let mut config = config.clone();
        config.created = Some(Self::EPOCH.to_owned());
        Ok(Self { config, layers })
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: LayerDescriptor, history: History) -> Self {
        self.fill_history();
        self.config.rootfs.diff_ids.push(layer.diff_id);
        self.config.history.push(History { empty_layer: false, ..history });
        self.layers.push(layer.blob);
        self
    }

    /// Readers count history against layers: a base without history gets an empty entry a layer.
    fn fill_history(&mut self) {
        let described = self.config.history.iter().filter(|entry| !entry.empty_layer).count();
        for _ in described..self.layers.len() {
            self.config.history.push(History { created: Some(Self::EPOCH.to_owned()), ..History::default() });
        }
    }

    /// Sets a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.config.labels.insert(name.into(), value.into());
        self
    }

    /// Sets an environment variable in place, or adds it at the end.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let pair = format!("{name}={value}");
        let old = |p: &&mut String| p.split('=').next() == Some(name);
        match self.config.config.env.iter_mut().find(old) {
            Some(place) => *place = pair,
            None => self.config.config.env.push(pair),
        }
        self
    }

    /// Sets the entrypoint and empties the command.
    #[must_use]
    pub fn entrypoint<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.config.config.entrypoint = words.into_iter().map(Into::into).collect();
        self.config.config.cmd = Vec::new();
        self
    }

    /// Sets the command.
    #[must_use]
    pub fn cmd<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.config.config.cmd = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the working folder.
    #[must_use]
    pub fn working_dir(mut self, path: impl Into<String>) -> Self {
        self.config.config.working_dir = path.into();
        self
    }

    /// Sets the user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.config.config.user = user.into();
        self
    }

    /// Sets when it was made, RFC 3339; [`Self::EPOCH`] unless set.
    #[must_use]
    pub fn created(mut self, time: impl Into<String>) -> Self {
        self.config.created = Some(time.into());
        self
    }

    /// The config as it stands.
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// The layers as they stand, the base first.
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// Writes both documents.
    pub fn build(&self) -> Result<BuiltImage, ImageError> {
        let config = json("config", &self.config)?;
        let config_digest = Hasher::digest(&config);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            artifact_type: None,
            config: Descriptor::new(media_type::CONFIG, config_digest.clone(), config.len() as u64),
            layers: self.layers.clone(),
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        };
        let manifest = json("manifest", &manifest)?;
        let digest = Hasher::digest(&manifest);
        Ok(BuiltImage { config, config_digest, manifest, digest })
    }
}

fn json(document: &'static str, value: &impl Serialize) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(value).map_err(|source| ImageError::Json { document, source })
}
