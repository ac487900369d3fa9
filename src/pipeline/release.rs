//! The corridor from a release on, and the side doors that join it there.

use crate::Platform;
use hythe_model::{Actor, BuildId, Fault, Formation, Release, ReleaseNumber, ToolName};
use hythe_rollout::InstanceStatus;

impl Platform {
    /// Builds the live commit again; the build's log tells the rest.
    pub async fn redeploy(&self, actor: &Actor, tool: &ToolName, no_cache: bool) -> Result<BuildId, Fault> {
        todo!()
    }

    /// Ends a build that has not switched the route.
    pub async fn cancel_build(&self, build: BuildId) -> Result<(), Fault> {
        todo!()
    }

    /// Releases the live triple again, so that every instance is new.
    pub async fn restart(&self, actor: &Actor, tool: &ToolName) -> Result<Release, Fault> {
        todo!()
    }

    /// Releases the live image and config with these counts changed.
    pub async fn scale(&self, actor: &Actor, tool: &ToolName, changes: Formation) -> Result<Release, Fault> {
        todo!()
    }

    /// Releases the triple of an earlier release; no build.
    pub async fn rollback(&self, actor: &Actor, tool: &ToolName, to: ReleaseNumber) -> Result<Release, Fault> {
        todo!()
    }

    /// What runs now.
    pub async fn instances(&self, tool: &ToolName) -> Result<Vec<InstanceStatus>, Fault> {
        todo!()
    }
}
