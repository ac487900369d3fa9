//! Where builds run: what this room asks of it.

use crate::analyze::Before;
use crate::cache::{Found, Index, Known};
use crate::{BuildRequest, Common, EventSink};
use async_trait::async_trait;
use hythe_carrier::trees::Tree;
use hythe_cnb::protocol::Outcome;
use hythe_model::{BuildId, Fault, ToolName};
use hythe_oci::LayerDescriptor;
use hythe_registry::Repository;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Which builds are not to be touched: they run.
pub type Stays = Arc<dyn Fn(BuildId) -> bool + Send + Sync>;

/// One build, under way.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) common: &'a Common,
    pub(crate) request: &'a BuildRequest,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) cancel: &'a CancellationToken,
}

/// Runs builds, and keeps the layers of earlier ones.
#[async_trait]
pub(crate) trait Executor: Send + Sync {
    /// What is cached of a tool.
    async fn cached(&self, common: &Common, tool: &ToolName) -> Result<Found, Fault>;

    /// Runs detect and build with what `before` brings back, of which less may be left.
    async fn run<'a>(&'a self, task: Task<'a>, before: &mut Before) -> Result<Box<dyn Site + 'a>, Fault>;

    /// Drops the cache of a tool.
    async fn forget(&self, common: &Common, tool: &ToolName) -> Result<(), Fault>;

    /// Removes what builds left behind that a crash interrupted, but for builds that stay.
    async fn sweep(&self, common: &Common, stays: Stays) -> Result<(), Fault>;
}

/// What a build has made, still where it ran, until it is removed.
#[async_trait]
pub(crate) trait Site: Send + Sync {
    /// What the buildpacks say. Untrusted.
    fn outcome(&self) -> &Outcome;

    /// Makes a tree a layer of the content store, in this repository; `known` is what is worth remembering of it.
    async fn layer(&self, before: &Before, tree: &Tree, repository: &Repository) -> Result<Layer, Fault>;

    /// Keeps the cached layers. A failure costs the next build its cache and nothing else.
    async fn keep(&self, before: &Before, index: Index) -> Result<(), Fault>;

    /// Removes it.
    async fn remove(&self);
}

/// A tree that is a layer.
pub(crate) struct Layer {
    pub(crate) written: LayerDescriptor,
    pub(crate) known: Option<Known>,
}
