//! What runs to its end beside the formation: by the clock, by hand, or before a release takes traffic.

use crate::status::ExitReason;
use hythe_model::{Fault, InstanceId, JobName, ToolName};
use jiff::Timestamp;

/// A run of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRun {
    /// Its name among instances; its place tells runs of one job apart.
    pub id: InstanceId,
    /// Where it stands.
    pub state: JobState,
    /// Since when.
    pub since: Timestamp,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Its process is being started.
    Starting,
    /// It runs.
    Running,
    /// It has ended.
    Ended(ExitReason),
}

impl JobRun {
    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        !matches!(self.state, JobState::Ended(_))
    }
}

/// The repository names no job like this.
pub(crate) fn no_job(tool: &ToolName, name: &JobName) -> Fault {
    Fault::new("jobs/absent", format!("{tool} has no job `{name}`."))
        .why("Jobs are named in project.toml: [hythe.cron.NAME].")
        .next(format!("See those that there are: hythe jobs list -t {tool}"))
}

/// A run like it goes on, and they are not to overlap.
pub(crate) fn overlaps(tool: &ToolName, name: &JobName) -> Fault {
    Fault::new("jobs/conflict", format!("The job `{name}` of {tool} runs already."))
        .why("It is said not to overlap with itself.")
        .next(format!("See it: hythe jobs list -t {tool}"))
        .next("Let runs overlap: overlap = true of the job in project.toml")
}
