//! The local runtime: every instance a sandbox of this machine.

use crate::runtime::{
    Adopted, Candidate, Notes, OneOff, OneOffSession, RunnableRelease, Runtime, Switched, Traffic,
};
use crate::status::InstanceStatus;
use async_trait::async_trait;
use hythe_model::{Fault, InstanceId, RouteTable, ToolName};
use hythe_registry::ContentStore;
use hythe_sandbox::Helper;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the local runtime is made of.
pub struct LocalParts {
    /// The sandbox helper.
    pub helper: Helper,
    /// Where images are.
    pub content: ContentStore,
    /// The folder that instances' output goes to, `<logs>/<tool>/<instance>/`; the server's user owns it.
    pub logs: PathBuf,
    /// Who knows of requests under way: the router.
    pub traffic: Arc<dyn Traffic>,
}

/// Sandboxes of this machine, supervised. Cheap to clone.
#[derive(Clone)]
pub struct LocalRuntime {
    inner: Arc<LocalParts>,
}

impl LocalRuntime {
    /// A runtime that knows of nothing yet; [`Runtime::adopt`] finds what runs.
    pub fn new(parts: LocalParts) -> Self {
        Self { inner: Arc::new(parts) }
    }
}

#[async_trait]
impl Runtime for LocalRuntime {
    fn declare_tool(&self, tool: &ToolName) { todo!() }
    async fn start(
        &self,
        release: RunnableRelease,
        notes: &Notes<'_>,
        cancel: CancellationToken,
    ) -> Result<Candidate, Fault> { todo!() }
    async fn switch(&self, candidate: Candidate) -> Switched { todo!() }
    async fn abandon(&self, candidate: Candidate) { todo!() }
    async fn stop_tool(&self, tool: &ToolName) { todo!() }
    async fn adopt(&self, live: Vec<RunnableRelease>) -> Result<Adopted, Fault> { todo!() }
    async fn instances(&self, tool: &ToolName) -> Vec<InstanceStatus> { todo!() }
    fn routes(&self) -> watch::Receiver<RouteTable> { todo!() }
    async fn dial(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream> { todo!() }
    async fn run_once(&self, run: OneOff) -> Result<OneOffSession, Fault> { todo!() }
}
