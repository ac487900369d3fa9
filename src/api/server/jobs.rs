//! Jobs by the clock: listed, started now, ended.

use super::Api;
use super::access::Caller;
use super::error::{ApiError, Refused};
use super::extract::{InTool, Path, parse, parse_tool};
use crate::types::{Job, JobRun, Jobs};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hythe_auth::Action;
use hythe_model::JobName;
use jiff::Timestamp;

/// A tool's jobs and their runs.
#[utoipa::path(get, path = "/tools/{tool}/jobs", tag = "jobs", operation_id = "list_jobs", params(("tool" = String, Path)), responses((status = 200, description = "Done", body = Jobs), Refused))]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
) -> Result<Json<Jobs>, ApiError> {
    caller.may(Action::ToolRead, Some(&tool)).await?;
    let now = Timestamp::now();
    let jobs = api.platform().jobs(&tool).await?.into_iter().map(|(name, job)| Job {
        name,
        next: job.schedule.next_after(now),
        schedule: job.schedule.to_string(),
        command: job.command.to_string(),
    });
    let runs = api.platform().job_runs(&tool).await?;
    Ok(Json(Jobs { jobs: jobs.collect(), runs: runs.into_iter().map(JobRun::from).collect() }))
}

/// Starts a run of a job, now.
#[utoipa::path(post, path = "/tools/{tool}/jobs/{job}/start", tag = "jobs", operation_id = "start_job", params(("tool" = String, Path), ("job" = String, Path)), responses((status = 204, description = "It is being started"), Refused))]
pub(crate) async fn start(
    State(api): State<Api>,
    caller: Caller,
    Path((tool, job)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let tool = parse_tool(&tool)?;
    caller.may(Action::RunOnce, Some(&tool)).await?;
    let job: JobName = parse(&job)?;
    api.platform().start_job(&tool, &job).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a run of a job.
#[utoipa::path(post, path = "/tools/{tool}/runs/{run}/end", tag = "jobs", operation_id = "end_job_run", params(("tool" = String, Path), ("run" = String, Path)), responses((status = 204, description = "It is told to end"), Refused))]
pub(crate) async fn end(
    State(api): State<Api>,
    caller: Caller,
    Path((tool, run)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let tool = parse_tool(&tool)?;
    caller.may(Action::RunOnce, Some(&tool)).await?;
    api.platform().end_job(&tool, &run).await?;
    Ok(StatusCode::NO_CONTENT)
}
