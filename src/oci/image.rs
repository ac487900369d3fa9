//! Image config, manifest and index: read with bounds, written to stable bytes.
//!
//! Enter at [`ImageBuilder`] to make an image, at [`Manifest::parse`] and [`ImageConfig::parse`] to read one. The types
//! are ours and not `oci-spec`'s because theirs keep labels in a `HashMap`, whose order, and so whose digest, changes
//! with every run.

use hythe_model::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod builder;
pub use builder::{BuiltImage, ImageBuilder, LayerDescriptor};

/// Media types (OCI image spec, and Docker's that it came from).
pub mod media_type {
    /// OCI manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, plain.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, Zstandard.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
}

/// Why an image's documents were refused.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Longer than is read.
    #[error("the {document} has {bytes} bytes, more than {max}")]
    TooLong {
        /// `manifest`, `index` or `config`.
        document: &'static str,
        /// Its bytes.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// Not the JSON it should be.
    #[error("the {document} cannot be read: {source}")]
    Json {
        /// `manifest`, `index` or `config`.
        document: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// JSON of the right shape that says something impossible.
    #[error("the {document} is not valid: {why}")]
    Invalid {
        /// `manifest`, `index` or `config`.
        document: &'static str,
        /// Why.
        why: String,
    },
}

/// A pointer to content (OCI image spec, descriptor).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Where else it can be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The machine it is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The kind of artifact it is, in a list of referrers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A pointer without anything optional.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }
}

/// The machine that an image is for, in Go's words (`amd64`, `linux`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Processor, as Go's GOARCH.
    pub architecture: String,
    /// Operating system, as Go's GOOS.
    pub os: String,
    /// Variant of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// An image manifest (OCI image spec; Docker schema 2 reads the same).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What this document is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The kind of artifact, where it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its config.
    pub config: Descriptor,
    /// Its layers, the base first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index of manifests (OCI image spec; Docker manifest lists read the same).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What this document is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The kind of artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image's config document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The machine it is for.
    #[serde(flatten)]
    pub platform: Platform,
    /// How it is run.
    #[serde(default)]
    pub config: RunConfig,
    /// Its layers by their uncompressed digests.
    pub rootfs: RootFs,
    /// How each layer came to be; entries without a layer say so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

/// An image's layers by their uncompressed digests, the base first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digests.
    pub diff_ids: Vec<Digest>,
}

/// How an image is run (OCI image spec, config.md, `config`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// User, as `name`, `uid` or `uid:gid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports, as in `8080/tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    /// Environment, each `NAME=value`.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Command and its first arguments.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments, where the user gives none.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    /// Working folder.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks it to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

/// How a layer came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Most bytes of a manifest or index that are read.
pub const MAX_MANIFEST: usize = 8 << 20;
/// Most bytes of a config that are read.
pub const MAX_CONFIG: usize = 16 << 20;
/// Most layers that an image may have; an overlay takes no more.
pub const MAX_LAYERS: usize = 500;

fn parse<T: serde::de::DeserializeOwned>(
    document: &'static str,
    bytes: &[u8],
    max: usize,
) -> Result<T, ImageError> {
    if bytes.len() > max {
        return Err(ImageError::TooLong { document, bytes: bytes.len(), max });
    }
    serde_json::from_slice(bytes).map_err(|source| ImageError::Json { document, source })
}

fn invalid(document: &'static str, why: impl Into<String>) -> ImageError {
    ImageError::Invalid { document, why: why.into() }
}

impl Manifest {
    /// Reads a manifest of at most [`MAX_MANIFEST`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let manifest: Self = parse("manifest", bytes, MAX_MANIFEST)?;
        if manifest.schema_version != 2 {
            return Err(invalid("manifest", format!("schemaVersion is {}, not 2", manifest.schema_version)));
        }
        if manifest.layers.len() > MAX_LAYERS {
            return Err(invalid("manifest", format!("it has more than {MAX_LAYERS} layers")));
        }
        Ok(manifest)
    }
}

impl Index {
    /// Reads an index of at most [`MAX_MANIFEST`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let index: Self = parse("index", bytes, MAX_MANIFEST)?;
        if index.schema_version != 2 {
            return Err(invalid("index", format!("schemaVersion is {}, not 2", index.schema_version)));
        }
        Ok(index)
    }
}

impl ImageConfig {
    /// Reads a config of at most [`MAX_CONFIG`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let config: Self = parse("config", bytes, MAX_CONFIG)?;
        if config.rootfs.kind != "layers" {
            return Err(invalid("config", "rootfs.type is not `layers`"));
        }
        if config.rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(invalid("config", format!("it has more than {MAX_LAYERS} layers")));
        }
        Ok(config)
    }

    /// The value of an environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.config.env.iter().rev().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests;
