//! Builds: a durable queue, fair between tools.

use crate::{Store, StoreError};
use hythe_model::{
    Actor, BuildCause, BuildId, CommitId, Fault, PublishedImage, PushOptions, ReleaseNumber, SourceTree,
    ToolName,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a build stands. Queued and running builds are unfinished; the others never change again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildState {
    /// Waits for its turn.
    Queued,
    /// Builds, or rolls its release out.
    Running,
    /// Its release went live.
    Succeeded,
    /// It or its release failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// A newer push took its place.
    Superseded,
}

impl BuildState {
    /// Whether the build will never change again.
    pub fn is_finished(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// How a build ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildOutcome {
    /// Its release is live.
    Succeeded,
    /// It failed.
    Failed(Fault),
    /// Somebody ended it.
    Cancelled(Fault),
}

/// A build to queue. Its source is durable already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBuild {
    /// The tool.
    pub tool: ToolName,
    /// What is built.
    pub source: SourceTree,
    /// The full ref that is to name the commit once it is live.
    pub reference: String,
    /// What the ref named when the push began.
    pub old: Option<CommitId>,
    /// The options of the push.
    pub options: PushOptions,
    /// Why it was asked for.
    pub cause: BuildCause,
    /// By whom.
    pub actor: Actor,
}

/// A build's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its number.
    pub id: BuildId,
    /// Its tool.
    pub tool: ToolName,
    /// Where it stands.
    pub state: BuildState,
    /// What is built.
    pub source: SourceTree,
    /// The full ref that is to name the commit once it is live.
    pub reference: String,
    /// What the ref named when the push began.
    pub old: Option<CommitId>,
    /// The options of the push.
    pub options: PushOptions,
    /// Why it was asked for.
    pub cause: BuildCause,
    /// By whom.
    pub actor: Actor,
    /// What it made, once published.
    pub image: Option<PublishedImage>,
    /// Its release, once written.
    pub release: Option<ReleaseNumber>,
    /// Why it failed or was cancelled.
    pub fault: Option<Fault>,
    /// The build that took its place.
    pub superseded_by: Option<BuildId>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When its turn came, the last time.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Store {
    /// Queues a build durably.
    pub async fn enqueue_build(&self, build: NewBuild) -> Result<Build, StoreError> {
        todo!("{build:?}")
    }

    /// Takes the next queued build and marks it running, in one step: first the tools with the fewest running builds,
    /// then the tool whose turn is the longest ago, then the oldest build. `None` where nothing waits.
    pub async fn claim_next_build(&self) -> Result<Option<Build>, StoreError> {
        todo!()
    }

    /// Marks one queued build running, out of turn. `false` where it was not queued any more.
    pub async fn start_build(&self, id: BuildId) -> Result<bool, StoreError> {
        todo!("{id}")
    }

    /// Puts a running build back into the queue, as after a restart. `false` where it was not running.
    pub async fn requeue_build(&self, id: BuildId) -> Result<bool, StoreError> {
        todo!("{id}")
    }

    /// Marks the tool's older unfinished builds that have no release yet as superseded by this one, and says which
    /// they were. A build whose release is being rolled out is not touched: the newer one waits for it.
    pub async fn supersede_older_builds(&self, newer: BuildId) -> Result<Vec<BuildId>, StoreError> {
        todo!("{newer}")
    }

    /// Records the image of a running build. A conflict where it is not running any more.
    pub async fn set_build_image(&self, id: BuildId, image: &PublishedImage) -> Result<(), StoreError> {
        todo!("{id} {image:?}")
    }

    /// Ends an unfinished build. `false`, and no change, where it had ended already.
    pub async fn finish_build(&self, id: BuildId, outcome: BuildOutcome) -> Result<bool, StoreError> {
        todo!("{id} {outcome:?}")
    }

    /// One build.
    pub async fn build(&self, id: BuildId) -> Result<Option<Build>, StoreError> {
        todo!("{id}")
    }

    /// A tool's builds, newest first, at most `limit`.
    pub async fn builds(&self, tool: &ToolName, limit: u32) -> Result<Vec<Build>, StoreError> {
        todo!("{tool} {limit}")
    }

    /// Every queued or running build of every tool, oldest first: what a start has to resume.
    pub async fn unfinished_builds(&self) -> Result<Vec<Build>, StoreError> {
        todo!()
    }

    /// How many builds go before this queued one; `None` where it is not queued.
    pub async fn queue_position(&self, id: BuildId) -> Result<Option<usize>, StoreError> {
        todo!("{id}")
    }
}
