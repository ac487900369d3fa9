//! What the supervision needs of a machine, so that it can be tested without one.

use crate::one_off::{OneOff, OneOffSession};
use crate::runtime::{ImageName, RunnableRelease};
use crate::settings::Readiness;
use crate::status::ExitReason;
use async_trait::async_trait;
use hythe_model::{Fault, InstanceId, ToolName};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A place where instances run.
#[async_trait]
pub(crate) trait Machine: Send + Sync + 'static {
    /// Makes the release's image ready, so that starts are quick and mistakes are found before the first.
    async fn prepare(&self, release: &RunnableRelease) -> Result<(), Fault>;

    /// Starts one instance.
    async fn start(&self, instance: &InstanceId, release: &RunnableRelease) -> Result<Arc<dyn Guest>, Fault>;

    /// Starts a run of a job.
    async fn start_job(
        &self,
        run: &InstanceId,
        release: &RunnableRelease,
        command: Vec<String>,
    ) -> Result<Arc<dyn Guest>, Fault>;

    /// The time.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Starts a one-off process.
    async fn run_once(&self, run: OneOff, cancel: CancellationToken) -> Result<OneOffSession, Fault>;

    /// Ends every one-off process of a tool.
    async fn end_one_offs(&self, tool: &ToolName);

    /// The images of what runs or has ended and was not disposed of.
    async fn images(&self) -> Result<Vec<ImageName>, Fault>;

    /// Removes what is kept of other images than these; how many layers that were.
    async fn prune(&self, keep: &[ImageName]) -> Result<usize, Fault>;

    /// Everything that runs or has ended and was not disposed of.
    async fn found(&self) -> Result<Vec<Found>, Fault>;
}

/// Something that an earlier run of the server started.
pub(crate) struct Found {
    /// Which instance; `None` for one-off processes and what cannot be told.
    pub(crate) instance: Option<InstanceId>,
    /// Digest of the image that it runs.
    pub(crate) image: Option<String>,
    /// The port that it was told to listen on.
    pub(crate) port: Option<u16>,
    /// The folders that it reads, by the place where it finds them; `None` where it cannot be told.
    pub(crate) folders: Option<BTreeMap<String, PathBuf>>,
    /// Whether it has not ended.
    pub(crate) running: bool,
    /// The thing itself.
    pub(crate) guest: Arc<dyn Guest>,
}

/// One started instance.
#[async_trait]
pub(crate) trait Guest: Send + Sync {
    /// Waits for its end. May be called again, and after the end.
    async fn exit(&self) -> ExitReason;

    /// Asks it to stop.
    async fn terminate(&self);

    /// Ends it.
    async fn kill(&self);

    /// Whether it is ready now; the error says what was seen instead.
    async fn probe(&self, readiness: &Readiness, port: u16) -> Result<(), String>;

    /// A connection to a port of it.
    async fn dial(&self, port: u16) -> io::Result<TcpStream>;

    /// What it printed last.
    async fn last_lines(&self) -> Vec<String>;

    /// Forgets it with all that is left of it. It has ended, for this reason.
    async fn dispose(&self, exit: &ExitReason);
}

/// Asks it to stop, and ends it where it has not within this time.
pub(crate) async fn shut_down(guest: &dyn Guest, grace: Duration) -> ExitReason {
    guest.terminate().await;
    if let Ok(exit) = timeout(grace, guest.exit()).await {
        return exit;
    }
    guest.kill().await;
    guest.exit().await
}
