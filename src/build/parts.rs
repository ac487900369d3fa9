//! What a builder is made of and what a build is asked with.

use crate::pods::PodParts;
use hythe_layers::Layers;
use hythe_model::{BuildEvent, BuildId, Digest, SourceTree, ToolName};
use hythe_oci::LayerBounds;
use hythe_registry::ContentStore;
use hythe_sandbox::{Egress, Helper};
use hythe_stacks::StackImages;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Most entries of a layer: at 4 KiB each on disk, 8 GiB.
const LAYER_ENTRIES: u64 = 2 << 20;

/// The handles and settings of a builder.
pub struct BuilderParts {
    /// Where images go, and where the stack's are.
    pub content: ContentStore,
    /// The stack that builds stand on.
    pub stack: StackImages,
    /// The static lifecycle program, `libexec/hythe/lifecycle`.
    pub lifecycle: PathBuf,
    /// The static launcher that images carry, `libexec/hythe/launcher`.
    pub launcher: PathBuf,
    /// The folder of buildpacks, `share/hythe/buildpacks`, a folder each.
    pub buildpacks: PathBuf,
    /// The builder's definition, `share/hythe/builder-images/<name>/builder.toml`.
    pub builder: PathBuf,
    /// What one build may use.
    pub limits: BuildLimits,
    /// How builds reach package registries.
    pub network: NetworkSettings,
}

/// Where builds run.
pub enum Place {
    /// In sandboxes of this machine.
    Sandboxes {
        /// The sandbox helper.
        helper: Helper,
        /// Layers of the stack, unpacked.
        layers: Layers,
    },
    /// In pods of a cluster.
    Pods(Box<PodParts>),
}

/// What one build may use; hitting a limit fails it with a fault of its own.
#[derive(Debug, Clone)]
pub struct BuildLimits {
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// CPU, thousandths of a core.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub pids: u32,
    /// Disk written by the build: root, layers and workspace together, bytes.
    pub disk_bytes: u64,
    /// Time of detect and build.
    pub wall: Duration,
    /// Output of the buildpacks, bytes as they print them.
    pub output_bytes: u64,
    /// Cached layers of a tool in all, bytes on disk; beyond it the largest are not kept, which fails no build.
    pub cache_bytes: u64,
    /// All images of a tool together, as the registry holds them, but for the stack's layers, bytes.
    pub images_bytes: u64,
}

impl BuildLimits {
    /// How far a layer of the image may go: what is restored and what is written can be in it.
    pub(crate) fn layer(&self) -> LayerBounds {
        let max_bytes = self.disk_bytes.saturating_add(self.cache_bytes);
        LayerBounds { max_bytes, max_entries: LAYER_ENTRIES }
    }
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            cpu_millis: 2000,
            pids: 1024,
            disk_bytes: 8 << 30,
            wall: Duration::from_mins(20),
            output_bytes: 16 << 20,
            cache_bytes: 4 << 30,
            images_bytes: 20 << 30,
        }
    }
}

/// How builds reach package registries; every part is optional.
#[derive(Debug, Clone, Default)]
pub struct NetworkSettings {
    /// What builds may reach.
    pub egress: Egress,
    /// A PEM bundle of certificate authorities, mounted over the stack's own and named in the usual variables.
    pub ca_bundle: Option<PathBuf>,
    /// `HTTP_PROXY`.
    pub http_proxy: Option<String>,
    /// `HTTPS_PROXY`.
    pub https_proxy: Option<String>,
    /// `NO_PROXY`.
    pub no_proxy: Option<String>,
    /// `PIP_INDEX_URL`: the mirror of the Python package index.
    pub pip_index_url: Option<String>,
    /// `NPM_CONFIG_REGISTRY`: the mirror of the npm registry.
    pub npm_registry: Option<String>,
}

/// One build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The tool, whose cache and repository are used.
    pub tool: ToolName,
    /// The build's number.
    pub id: BuildId,
    /// The source.
    pub source: SourceTree,
    /// Its archive, an uncompressed tar.
    pub archive: PathBuf,
    /// The manifest of the tool's last image, in its repository.
    pub previous: Option<Digest>,
    /// Build without the layers of earlier builds.
    pub no_cache: bool,
    /// Build-time config: seen by buildpacks as platform environment, written to no layer by this room.
    pub env: BTreeMap<String, String>,
}

/// Where a build's events go, in order. Output is bounded by [`BuildLimits::output_bytes`], so a sink may queue.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: BuildEvent);
}

impl<F: Fn(BuildEvent) + Send + Sync> EventSink for F {
    fn event(&self, event: BuildEvent) {
        self(event);
    }
}
