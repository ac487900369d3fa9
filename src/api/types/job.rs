//! Jobs that run by the clock, and their runs.

use hythe_model::{JobName, ReleaseNumber};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The jobs of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Jobs {
    /// Those that its live release names, in the order of their names.
    pub jobs: Vec<Job>,
    /// Runs, the newest first: those that go on, and some that have ended.
    pub runs: Vec<JobRun>,
}

/// A job that runs by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its name.
    #[schema(value_type = String, example = "clean-up")]
    pub name: JobName,
    /// When it runs, in UTC, as a crontab has it.
    #[schema(example = "*/5 * * * *")]
    pub schedule: String,
    /// What runs.
    pub command: String,
    /// When it runs next.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next: Option<Timestamp>,
}

/// A run of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobRun {
    /// The job; `release` is the command that runs before a release takes traffic.
    pub job: String,
    /// What tells runs of one tool apart.
    #[schema(example = "x7k2p")]
    pub run: String,
    /// The release whose image and config it has.
    #[schema(value_type = String, example = "v14")]
    pub release: ReleaseNumber,
    /// How it is.
    pub state: JobRunState,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// How it ended, where it has, as in `exit code 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
}

/// How a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobRunState {
    /// Its process is being started.
    Starting,
    /// It runs.
    Running,
    /// It has ended well.
    Succeeded,
    /// It has ended otherwise.
    Failed,
}

impl JobRunState {
    /// The word shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}
