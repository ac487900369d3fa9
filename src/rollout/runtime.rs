//! What a runtime is asked and what it answers; the same for sandboxes here and for pods of a cluster.

use crate::jobs::JobRun;
use crate::one_off::{OneOff, OneOffSession};
use crate::settings::RunSettings;
use crate::status::{ExitReason, InstanceStatus};
use async_trait::async_trait;
use hythe_cluster::{Piece, Position};
use hythe_model::project::{Canary, FilePlace, ReleaseCommand};
use hythe_model::{
    BuildEvent, Digest, Fault, InstanceId, JobName, Release, ReleaseNumber, RouteTable, ToolName,
};
use jiff::Timestamp;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Makes releases run. One value serves the whole platform; calls for different tools do not wait for each other.
///
/// The caller sees to it that a tool has one rollout at a time.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// A fault where nothing can run for a tool of this name.
    fn expect_name(&self, _tool: &ToolName) -> Result<(), Fault> {
        Ok(())
    }

    /// Says that a tool exists, so that its host answers "nothing is deployed" and not "no such tool".
    fn declare_tool(&self, tool: &ToolName);

    /// Forgets a tool that another server has removed.
    fn forget_tool(&self, _tool: &ToolName) {}

    /// Says that other servers roll out too, each in the tool's turn; call it once, before all else.
    fn share(&self, _wishes: Arc<dyn Wishes>) {}

    /// Looks after what runs for all servers until `end`: brings home what it prints, and changes back what somebody else has
    /// changed in it.
    fn lead(&self, _end: CancellationToken) {}

    /// Starts every instance of the release's formation beside what runs, and waits until each is ready. `before` is the
    /// live release.
    ///
    /// Where the release has a command that runs before it takes traffic, that is run first, to its end. One that a server which
    /// was killed has begun is gone on with in a cluster, and begun again on one machine.
    ///
    /// Where it has a canary, that part of its web instances comes first, shares the traffic with what serves, and is watched
    /// for a while before the rest follows.
    ///
    /// Until the switch they take no traffic, but for the canary; or, in a cluster, share it with the instances that they are to
    /// replace one by one. On a fault or a cancellation (`rollout/cancelled`) what served before goes on serving, alone, and within two
    /// seconds.
    async fn start(
        &self,
        release: RunnableRelease,
        before: Option<RunnableRelease>,
        notes: &Notes<'_>,
        cancel: CancellationToken,
    ) -> Result<Candidate, Fault>;

    /// Moves the route to the candidate's instances: the point of no return.
    ///
    /// Returns as soon as new requests go there. The instances before them finish their requests and stop in the
    /// background.
    async fn switch(&self, candidate: Candidate) -> Switched;

    /// Ends a candidate's instances. A dropped candidate is abandoned too, in the background.
    async fn abandon(&self, candidate: Candidate);

    /// Takes back a release that nobody goes on with, as when its server died: what its command has begun ends, and what served before
    /// is what runs again. It may be asked for more than once; after a fault it is to be. Nobody reads the release's `env` here.
    ///
    /// The caller has the tool's turn. Where a runtime ends with its server, there is nothing left that adopting has not ended.
    async fn take_back(&self, _left: RunnableRelease, _served: Served) -> Result<(), Fault> {
        Ok(())
    }

    /// Ends everything of a tool at once and forgets the tool; returns when it is gone, or when the cluster has been told and only takes
    /// its time. On a fault it may run still, and is known.
    async fn stop_tool(&self, tool: &ToolName) -> Result<(), Fault>;

    /// Takes back what runs after a restart of the server: instances of these releases are kept as they are, missing
    /// ones are started in the background, all others are stopped. Call it once, before the first `start`.
    async fn adopt(&self, live: Vec<RunnableRelease>) -> Result<Adopted, Fault>;

    /// The instances of a tool in the order of process type and index, those that are stopping at the end.
    async fn instances(&self, tool: &ToolName) -> Vec<InstanceStatus>;

    /// Where traffic goes, now and from now on.
    fn routes(&self) -> watch::Receiver<RouteTable>;

    /// Connects to a port of an instance, inside its own network namespace.
    async fn dial(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream>;

    /// Runs a command once in a release's image, with its config. It takes no traffic and no part in the formation.
    async fn run_once(&self, run: OneOff) -> Result<OneOffSession, Fault>;

    /// Runs of the tool's jobs, the newest first: those that go on, and some that have ended.
    async fn jobs(&self, tool: &ToolName) -> Result<Vec<JobRun>, Fault>;

    /// Starts a run of one of the live release's jobs, now.
    async fn start_job(&self, tool: &ToolName, name: &JobName) -> Result<(), Fault>;

    /// Ends the run in this place; whether there was one that ran.
    async fn end_job(&self, tool: &ToolName, place: &str) -> Result<bool, Fault>;

    /// The images of everything that runs, one-off processes too.
    async fn images(&self) -> Result<Vec<ImageName>, Fault>;

    /// Removes what this runtime keeps of images, but not of these; how much of it (layers) went. Whatever was asked for
    /// lately stays too.
    async fn prune(&self, keep: &[ImageName]) -> Result<usize, Fault>;
}

/// Knows what is to run, where several servers roll out.
#[async_trait]
pub trait Wishes: Send + Sync {
    /// What is live of a tool.
    async fn live(&self, tool: &ToolName) -> Result<Option<RunnableRelease>, Fault>;

    /// The same, in a turn that keeps others from changing it meanwhile. A fault where somebody has the turn, or it cannot be
    /// known.
    async fn live_in_turn(&self, tool: &ToolName) -> Result<Option<Wished>, Fault>;

    /// Whether this server has the tool's turn still.
    fn has_turn(&self, tool: &ToolName) -> bool;

    /// What this server is called among others.
    fn server(&self) -> &str;

    /// Whether the server of this name lives.
    async fn lives(&self, server: &str) -> Result<bool, Fault>;
}

/// What is to run, and the turn in which it is known.
pub struct Wished {
    /// The live release.
    pub release: RunnableRelease,
    /// The turn, until this is dropped.
    pub turn: Box<dyn Send>,
}

/// What serves while another release comes.
#[derive(Debug, Clone)]
pub enum Served {
    /// Nothing: the other one is the first.
    Nothing,
    /// This release.
    Release(Box<RunnableRelease>),
    /// A release that cannot be made runnable, as where its config does not open: it is left as it is.
    Unknown,
}

/// Takes the events of a rollout, in order.
pub type Notes<'a> = dyn Fn(BuildEvent) + Send + Sync + 'a;

/// An image of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName {
    /// The repository, as in `tools/weather`.
    pub repository: String,
    /// Digest of the manifest.
    pub digest: Digest,
}

impl ImageName {
    /// The image of a release.
    pub fn of(release: &RunnableRelease) -> Self {
        Self { repository: release.repository.clone(), digest: release.release.image.clone() }
    }
}

/// A release with all that is needed to run it.
#[derive(Clone)]
pub struct RunnableRelease {
    /// The release; its image is a manifest in `repository`.
    pub release: Release,
    /// The registry's repository, as in `tools/weather`.
    pub repository: String,
    /// Config of the release that its instances see, opened.
    pub env: Vec<(String, String)>,
    /// Config of the release that its processes find as files.
    pub files: Vec<ConfigFile>,
    /// How its instances are run.
    pub settings: RunSettings,
    /// What runs once before it takes traffic.
    pub release_command: Option<ReleaseCommand>,
    /// The part of it that has to do well first.
    pub canary: Option<Canary>,
}

/// A config value as a file that every process of a release may read.
#[derive(Clone)]
pub struct ConfigFile {
    /// Where it is.
    pub place: FilePlace,
    /// Its key.
    pub key: String,
    /// What is in it.
    pub content: String,
}

impl fmt::Debug for RunnableRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.env.iter().map(|(key, _)| key).collect();
        f.debug_struct("RunnableRelease")
            .field("tool", &self.release.tool)
            .field("number", &self.release.number)
            .field("image", &self.release.image)
            .field("env", &keys)
            .finish_non_exhaustive()
    }
}

/// Instances that are ready and take no traffic yet. Switch to it or abandon it; dropping abandons.
#[must_use = "a candidate that is dropped is abandoned"]
#[derive(Debug)]
pub struct Candidate {
    /// Its tool.
    pub tool: ToolName,
    /// The release it runs.
    pub release: ReleaseNumber,
    /// Instances that are ready: all of the formation.
    pub instances: usize,
    /// From the call of `start` to the last instance's readiness.
    pub ready_after: Duration,
    abandon: Option<DropGuard>,
}

impl Candidate {
    /// A candidate whose instances end when `abandon` is cancelled.
    pub fn new(
        tool: ToolName,
        release: ReleaseNumber,
        instances: usize,
        ready_after: Duration,
        abandon: CancellationToken,
    ) -> Self {
        Self { tool, release, instances, ready_after, abandon: Some(abandon.drop_guard()) }
    }

    /// Takes the guard out: from here on dropping the candidate ends nothing.
    pub fn disarm(&mut self) {
        if let Some(guard) = self.abandon.take() {
            guard.disarm();
        }
    }
}

/// What a switch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switched {
    /// The release that takes traffic now.
    pub release: ReleaseNumber,
    /// Its instances.
    pub instances: usize,
    /// The release whose instances finish their requests and stop.
    pub previous: Option<ReleaseNumber>,
}

/// What was found after a restart of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Instances that run on.
    pub kept: usize,
    /// Instances that were missing and are being started.
    pub starting: usize,
    /// Instances and one-off processes that nobody wanted.
    pub stopped: usize,
}

/// What the router knows of the requests to an instance.
#[async_trait]
pub trait Traffic: Send + Sync {
    /// What the instances of a tool have answered on either side of its canary: since they take traffic as far as this server's router has
    /// seen, and since there is a canary as far as those of others have told.
    async fn answers(&self, tool: &ToolName, sides: &[Vec<InstanceId>; 2]) -> [Answers; 2];

    /// Tells the other servers what these instances of a tool have answered here since they were first told of, in place of what was told
    /// before; of none where it has no canary any more. `false` where that is to be said again.
    async fn tell(&self, _tool: &ToolName, _instances: &[InstanceId]) -> bool {
        true
    }

    /// Closes the instance to new requests and returns when none is under way. The instance has left the route before.
    async fn drained(&self, instance: &InstanceId);
}

/// Answers to requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// All of them.
    pub all: u64,
    /// Those with a status of 500 and above, and those that never came.
    pub errors: u64,
}

impl std::iter::Sum for Answers {
    fn sum<I: Iterator<Item = Self>>(each: I) -> Self {
        each.fold(Self::default(), |sum, one| Self {
            all: sum.all + one.all,
            errors: sum.errors + one.errors,
        })
    }
}

/// Takes what instances print: from the files that the sandbox helper writes for each, or line by line.
#[async_trait]
pub trait Witness: Send + Sync {
    /// An instance's output goes to files in this folder from now on, or still does after a restart of the server.
    fn started(&self, instance: &InstanceId, log: &Path);

    /// Who takes the lines of an instance that are to be brought, which has ended at a time where one is said; `None` where none of them
    /// are wanted: all were taken before.
    async fn reader(
        &self,
        _instance: &InstanceId,
        _ended: Option<Timestamp>,
    ) -> Result<Option<Box<dyn Lines>>, Fault> {
        Ok(None)
    }

    /// It has ended and its log is complete; when, where that is known. Where the answer is false that could not be kept, and is to be
    /// said again; what is left of its output stays until then.
    async fn ended(&self, instance: &InstanceId, exit: &ExitReason, at: Option<Timestamp>) -> bool;
}

/// Takes the lines of one instance.
#[async_trait]
pub trait Lines: Send {
    /// The last line that was taken, by whichever server: what is brought next is what comes behind it.
    fn last(&mut self) -> Option<Position>;

    /// Takes a piece of the line at this place, and waits while there is too much of it. `false` where it is not taken: somebody else
    /// has read on, and another [`Witness::reader`] is to be asked for.
    async fn take(&mut self, at: Position, piece: Piece<'_>) -> bool;

    /// Waits until all that was taken is kept; `false` where it is not, as above.
    async fn finish(&mut self) -> bool;
}

/// No router and no log: nothing is ever under way, and what instances print stays in its files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

#[async_trait]
impl Traffic for Unwatched {
    async fn answers(&self, _: &ToolName, _: &[Vec<InstanceId>; 2]) -> [Answers; 2] {
        <[Answers; 2]>::default()
    }

    async fn drained(&self, _: &InstanceId) {}
}

#[async_trait]
impl Witness for Unwatched {
    fn started(&self, _: &InstanceId, _: &Path) {}

    async fn ended(&self, _: &InstanceId, _: &ExitReason, _: Option<Timestamp>) -> bool {
        false
    }
}
