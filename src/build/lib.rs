//! Source to image: analyze, detect, restore, run, export.
//!
//! Enter at [`Builder::build`]. Buildpacks run in one sandbox under the lifecycle program; what it reports is
//! untrusted input, read with bounds. Layers are written by the trusted side straight into the content store.
//! This room never hands a credential to the sandbox and never decides what becomes of an image.

mod parts;

pub use parts::{BuildLimits, BuildRequest, BuilderParts, EventSink, NetworkSettings};

use hythe_model::{Fault, PublishedImage};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Turns sources into published images. Cheap to clone; builds of several tools may run at once.
#[derive(Clone)]
pub struct Builder {
    parts: Arc<BuilderParts>,
}

impl Builder {
    /// A builder of these parts. Reads the builder's definition and its buildpacks.
    pub async fn new(parts: BuilderParts) -> Result<Self, Fault> {
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Builds one source tree and publishes the image in the repository `tools/<tool>`.
    ///
    /// Events are in order. Cancelling ends the sandbox within two seconds and leaves the tool's cache as it was;
    /// the answer is then the fault `build/cancelled`.
    pub async fn build(
        &self,
        request: BuildRequest,
        events: &dyn EventSink,
        cancel: CancellationToken,
    ) -> Result<PublishedImage, Fault> {
        let _ = (&self.parts, request, events, cancel);
        todo!()
    }

    /// Removes what builds left behind that a crash interrupted. Call it once, before the first build.
    pub async fn sweep(&self) -> Result<(), Fault> {
        todo!()
    }

    /// Drops the cache of a tool, as when the tool is deleted.
    pub async fn forget(&self, tool: &hythe_model::ToolName) -> Result<(), Fault> {
        let _ = tool;
        todo!()
    }
}
