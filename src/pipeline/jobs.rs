//! Jobs of a tool: what its live release names, what runs of it.

use crate::{Platform, faults};
use hythe_model::project::CronJob;
use hythe_model::{Fault, JobName, ToolName};
use hythe_rollout::JobRun;
use std::collections::BTreeMap;

impl Platform {
    /// The jobs that the live release runs by the clock; none where nothing is live.
    pub async fn jobs(&self, tool: &ToolName) -> Result<BTreeMap<JobName, CronJob>, Fault> {
        let live = self.store().live_release(tool).await?;
        Ok(live.map(|live| live.project.cron).unwrap_or_default())
    }

    /// Runs of its jobs, the newest first: those that go on, and some that have ended.
    pub async fn job_runs(&self, tool: &ToolName) -> Result<Vec<JobRun>, Fault> {
        self.parts().runtime.jobs(tool).await
    }

    /// Starts a run of a job, now.
    pub async fn start_job(&self, tool: &ToolName, name: &JobName) -> Result<(), Fault> {
        self.parts().runtime.start_job(tool, name).await
    }

    /// Ends the run in this place.
    pub async fn end_job(&self, tool: &ToolName, place: &str) -> Result<(), Fault> {
        if self.parts().runtime.end_job(tool, place).await? {
            Ok(())
        } else {
            Err(faults::no_job_run(tool, place))
        }
    }
}
