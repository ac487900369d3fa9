//! Releases: numbered, immutable triples; one a tool is live.

use crate::{DeployRef, Store, StoreError};
use hythe_model::{
    Actor, BuildId, CommitId, Digest, Fault, Formation, Process, Release, ReleaseCause, ReleaseNumber,
    ToolName,
};

/// A release to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelease {
    /// Its tool.
    pub tool: ToolName,
    /// Digest of the image's manifest.
    pub image: Digest,
    /// The commit its image was built from.
    pub commit: CommitId,
    /// The processes the image offers.
    pub processes: Vec<Process>,
    /// Number of the config's version; 0 is the empty config.
    pub config: i64,
    /// How many instances of what.
    pub formation: Formation,
    /// What made it.
    pub cause: ReleaseCause,
    /// A note of its maker.
    pub message: Option<String>,
    /// Who made it.
    pub actor: Actor,
    /// The running build that made it, where one did.
    pub build: Option<BuildId>,
}

/// What an activation changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The release, now live.
    pub release: Release,
    /// The release that was live before.
    pub superseded: Option<ReleaseNumber>,
}

impl Store {
    /// Writes the next release of a tool as [`hythe_model::ReleaseState::RollingOut`], and its number into its build.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the build is not running any more, as when it was superseded or cancelled.
    pub async fn create_release(&self, release: NewRelease) -> Result<Release, StoreError> {
        todo!("{release:?}")
    }

    /// Makes a release live, in one transaction: compares that the live release is `expected`, marks this one live, the
    /// old one superseded and the release's build succeeded, and records which commit the deploy ref must name.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where another release is live, or this one is not rolling out; nothing has changed then.
    pub async fn activate(
        &self,
        tool: &ToolName,
        number: ReleaseNumber,
        expected: Option<ReleaseNumber>,
        deployed: &DeployRef,
    ) -> Result<Activation, StoreError> {
        todo!("{tool} {number} {expected:?} {deployed:?}")
    }

    /// Marks a release that is rolling out as failed, and its unfinished build with it. `false`, and no change, where it
    /// was not rolling out any more.
    pub async fn fail_release(
        &self,
        tool: &ToolName,
        number: ReleaseNumber,
        fault: &Fault,
    ) -> Result<bool, StoreError> {
        todo!("{tool} {number} {fault}")
    }

    /// One release.
    pub async fn release(
        &self,
        tool: &ToolName,
        number: ReleaseNumber,
    ) -> Result<Option<Release>, StoreError> {
        todo!("{tool} {number}")
    }

    /// A tool's releases, newest first, at most `limit`.
    pub async fn releases(&self, tool: &ToolName, limit: u32) -> Result<Vec<Release>, StoreError> {
        todo!("{tool} {limit}")
    }

    /// A tool's live release.
    pub async fn live_release(&self, tool: &ToolName) -> Result<Option<Release>, StoreError> {
        todo!("{tool}")
    }

    /// The live releases of all tools: what a start has to find running.
    pub async fn live_releases(&self) -> Result<Vec<Release>, StoreError> {
        todo!()
    }

    /// The releases that a stop has interrupted while they rolled out.
    pub async fn releases_rolling_out(&self) -> Result<Vec<Release>, StoreError> {
        todo!()
    }
}
