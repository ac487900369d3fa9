//! The local runtime: every instance a sandbox of this machine, supervised.
//!
//! Enter at [`LocalRuntime`]. `group` holds the instances of a release, `supervise` keeps one of them alive, `route`
//! says where traffic goes, `adopt` takes back what outlived the server; `sandbox` and `layers` are the machine.

mod adopt;
mod command;
mod group;
mod image;
mod jobs;
mod leftovers;
mod lines;
mod machine;
mod one_off;
mod route;
mod sandbox;
mod start;
mod supervise;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tools;

pub(crate) use lines::without_controls;

use crate::jobs::JobRun;
use crate::one_off::{OneOff, OneOffSession};
use crate::runtime::{
    Adopted, Candidate, ImageName, Notes, RunnableRelease, Runtime, Switched, Traffic, Unwatched, Witness,
};
use crate::status::InstanceStatus;
use async_trait::async_trait;
use hythe_layers::Layers;
use hythe_model::{Fault, InstanceId, JobName, RouteTable, ToolName};
use hythe_registry::ContentStore;
use hythe_sandbox::Helper;
use sandbox::Sandboxes;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tools::Tools;

/// What the local runtime is made of.
pub struct LocalParts {
    /// The sandbox helper.
    pub helper: Helper,
    /// Where images are.
    pub content: ContentStore,
    /// Their layers, unpacked.
    pub layers: Layers,
    /// The folder that instances' output goes to, `<logs>/<tool>/<instance>/`; the server's user owns it.
    pub logs: PathBuf,
    /// Bytes that are kept of an instance's output until somebody has taken it.
    pub log_bytes: u64,
    /// Who knows of requests under way: the router.
    pub traffic: Arc<dyn Traffic>,
}

/// Sandboxes of this machine, supervised. Cheap to clone. When the last clone is dropped, instances run on unsupervised.
#[derive(Clone)]
pub struct LocalRuntime {
    tools: Arc<Tools>,
}

impl LocalRuntime {
    /// A runtime that knows of nothing yet; [`Runtime::adopt`] finds what runs.
    pub fn new(parts: LocalParts) -> Self {
        Self::with_witness(parts, Arc::new(Unwatched))
    }

    /// The same, with somebody who takes what instances print.
    pub fn with_witness(parts: LocalParts, witness: Arc<dyn Witness>) -> Self {
        let traffic = parts.traffic.clone();
        Self { tools: Tools::new(Arc::new(Sandboxes::new(parts, witness)), traffic) }
    }
}

#[async_trait]
impl Runtime for LocalRuntime {
    fn declare_tool(&self, tool: &ToolName) {
        self.tools.declare(tool);
    }

    async fn start(
        &self,
        release: RunnableRelease,
        before: Option<RunnableRelease>,
        notes: &Notes<'_>,
        cancel: CancellationToken,
    ) -> Result<Candidate, Fault> {
        self.tools.start(release, before.as_ref(), notes, cancel).await
    }

    async fn switch(&self, candidate: Candidate) -> Switched {
        self.tools.switch(candidate)
    }

    async fn abandon(&self, candidate: Candidate) {
        self.tools.abandon(candidate).await;
    }

    async fn stop_tool(&self, tool: &ToolName) -> Result<(), Fault> {
        self.tools.stop_tool(tool).await;
        Ok(())
    }

    async fn adopt(&self, live: Vec<RunnableRelease>) -> Result<Adopted, Fault> {
        self.tools.adopt(live).await
    }

    async fn instances(&self, tool: &ToolName) -> Vec<InstanceStatus> {
        self.tools.instances(tool)
    }

    fn routes(&self) -> watch::Receiver<RouteTable> {
        self.tools.routes()
    }

    async fn dial(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream> {
        self.tools.dial(instance, port).await
    }

    async fn run_once(&self, run: OneOff) -> Result<OneOffSession, Fault> {
        self.tools.run_once(run).await
    }

    async fn jobs(&self, tool: &ToolName) -> Result<Vec<JobRun>, Fault> {
        Ok(self.tools.jobs.runs(tool))
    }

    async fn start_job(&self, tool: &ToolName, name: &JobName) -> Result<(), Fault> {
        self.tools.start_job(tool, name)
    }

    async fn end_job(&self, tool: &ToolName, place: &str) -> Result<bool, Fault> {
        Ok(self.tools.end_job(tool, place))
    }

    async fn images(&self) -> Result<Vec<ImageName>, Fault> {
        self.tools.machine.images().await
    }

    async fn prune(&self, keep: &[ImageName]) -> Result<usize, Fault> {
        self.tools.machine.prune(keep).await
    }
}
