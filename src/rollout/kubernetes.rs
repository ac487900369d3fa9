//! The Kubernetes runtime: every tool a namespace, every process type a Deployment.
//!
//! Enter at [`KubernetesRuntime`]. `desired` says what a release wants, a pure function; the room `cluster` makes it so; `watch`
//! follows what becomes of it into `seen`, from which `progress` judges a rollout and the router gets its table; `drift` sees what
//! somebody else has changed and `keep` changes it back; `logs` brings home what pods print. Nothing here is kept on a disk that could not be thrown away.

mod attach;
mod canary;
mod command;
mod desired;
mod drift;
mod fault;
mod hold;
mod jobs;
mod keep;
mod left;
mod logs;
mod one_off;
mod progress;
mod rollout;
mod seen;
mod settings;
#[cfg(test)]
mod tests;
mod unmade;
mod view;
mod waiting;
mod watch;
mod wished;

pub use settings::{ClusterSettings, Quota, Router};

use crate::jobs::JobRun;
use crate::one_off::{OneOff, OneOffSession};
use crate::runtime::{
    Adopted, Candidate, ImageName, Notes, RunnableRelease, Runtime, Served, Switched, Traffic, Wishes,
    Witness,
};
use crate::status::InstanceStatus;
use async_trait::async_trait;
use hythe_cluster::Cluster;
use hythe_cluster::fence::PullAccess;
use hythe_model::{Fault, InstanceId, JobName, RouteTable, ToolName};
use rollout::Rollouts;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::watch as channel;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Makes what a node shows to the registry for the images of one tool.
pub type Pull = Arc<dyn Fn(&ToolName) -> Option<PullAccess> + Send + Sync>;

/// What the Kubernetes runtime is made of.
pub struct KubernetesParts {
    /// The cluster.
    pub cluster: Cluster,
    /// How tools lie in the cluster.
    pub settings: ClusterSettings,
    /// The port that web processes listen on.
    pub port: u16,
    /// Makes what a node shows to the registry, for one tool; `None` where images are pulled freely.
    pub pull: Pull,
    /// Who takes what instances print.
    pub witness: Arc<dyn Witness>,
    /// Who knows what instances answer: the router.
    pub traffic: Arc<dyn Traffic>,
}

/// Pods of a cluster. Cheap to clone; when the last clone is dropped, pods run on.
#[derive(Clone)]
pub struct KubernetesRuntime {
    rollouts: Arc<Rollouts>,
    _end: Arc<DropGuard>,
}

impl KubernetesRuntime {
    /// Begins to watch the cluster.
    pub fn start(parts: KubernetesParts) -> Self {
        let end = CancellationToken::new();
        let rollouts = Rollouts::start(parts, end.clone());
        Self { rollouts, _end: Arc::new(end.drop_guard()) }
    }
}

#[async_trait]
impl Runtime for KubernetesRuntime {
    fn expect_name(&self, tool: &ToolName) -> Result<(), Fault> {
        fault::expect_namespace(&self.rollouts.settings, tool)
    }

    fn declare_tool(&self, tool: &ToolName) {
        self.rollouts.seen.update(tool, |view| view.declared = true);
    }

    fn forget_tool(&self, tool: &ToolName) {
        self.rollouts.forget(tool);
    }

    fn share(&self, wishes: Arc<dyn Wishes>) {
        self.rollouts.share(wishes);
    }

    fn lead(&self, end: CancellationToken) {
        self.rollouts.clone().lead(end);
    }

    async fn start(
        &self,
        release: RunnableRelease,
        before: Option<RunnableRelease>,
        notes: &Notes<'_>,
        cancel: CancellationToken,
    ) -> Result<Candidate, Fault> {
        Box::pin(self.rollouts.clone().start_release(release, before, notes, cancel)).await
    }

    async fn switch(&self, candidate: Candidate) -> Switched {
        self.rollouts.clone().switch(candidate)
    }

    async fn abandon(&self, candidate: Candidate) {
        self.rollouts.abandon(candidate).await;
    }

    async fn take_back(&self, left: RunnableRelease, served: Served) -> Result<(), Fault> {
        self.rollouts.take_back_left(&left, &served).await
    }

    async fn stop_tool(&self, tool: &ToolName) -> Result<(), Fault> {
        self.rollouts.stop_tool(tool).await
    }

    async fn adopt(&self, live: Vec<RunnableRelease>) -> Result<Adopted, Fault> {
        Ok(self.rollouts.clone().adopt(live))
    }

    async fn instances(&self, tool: &ToolName) -> Vec<InstanceStatus> {
        self.rollouts.seen.instances(tool)
    }

    fn routes(&self) -> channel::Receiver<RouteTable> {
        self.rollouts.seen.routes()
    }

    async fn dial(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream> {
        let address = self.rollouts.seen.address(instance);
        let address =
            address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the pod has no address"))?;
        TcpStream::connect((address, port)).await
    }

    async fn run_once(&self, run: OneOff) -> Result<OneOffSession, Fault> {
        one_off::start(&self.rollouts, run).await
    }

    async fn jobs(&self, tool: &ToolName) -> Result<Vec<JobRun>, Fault> {
        Ok(self.rollouts.job_runs(tool))
    }

    async fn start_job(&self, tool: &ToolName, name: &JobName) -> Result<(), Fault> {
        self.rollouts.start_job(tool, name).await
    }

    async fn end_job(&self, tool: &ToolName, place: &str) -> Result<bool, Fault> {
        self.rollouts.end_job(tool, place).await
    }

    async fn images(&self) -> Result<Vec<ImageName>, Fault> {
        Ok(self.rollouts.images())
    }

    async fn prune(&self, _keep: &[ImageName]) -> Result<usize, Fault> {
        // Nodes clean up after themselves.
        Ok(0)
    }
}
