//! What instances print: `/tools/{tool}/logs`, and what the last that ended have printed last.

use super::Api;
use super::access::Caller;
use super::builds::Page;
use super::error::{ApiError, Refused};
use super::extract::{InTool, Query};
use super::stream;
use crate::types::{EndedInstance, LogLine};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use futures::StreamExt;
use hythe_auth::Action;
use hythe_events::LogQuery;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

/// What of a tool's log; everything kept where nothing is said.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogPart {
    /// From this position on.
    from: Option<u64>,
    /// Printed at this time or after it.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Of those that are stored, the last so many.
    tail: Option<usize>,
    /// Wait for more.
    #[serde(default)]
    follow: bool,
    /// Of instances whose name starts with this, as in `v14.web` or `router`.
    instance: Option<String>,
}

/// A tool's log as JSON lines; with `follow` it does not end.
#[utoipa::path(get, path = "/tools/{tool}/logs", tag = "logs", operation_id = "read_logs", params(("tool" = String, Path), LogPart), responses((status = 200, description = "Done", body = LogLine, content_type = "application/x-ndjson"), Refused))]
pub(crate) async fn read(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Query(part): Query<LogPart>,
) -> Result<Response, ApiError> {
    caller.may(Action::LogsRead, Some(&tool)).await?;
    let LogPart { from, since, tail, follow, instance } = part;
    let query = LogQuery { from, since, tail, follow, instance, sources: Vec::new() };
    let lines = api.platform().logs().lines(&tool, query).map(|line| line.map(LogLine::from));
    Ok(stream::lines(lines, api.0.shutdown.clone()))
}

/// The instances that ended last, with why and what they printed last, newest first; twenty are kept.
#[utoipa::path(get, path = "/tools/{tool}/instances/ended", tag = "logs", operation_id = "list_ended_instances", params(("tool" = String, Path), Page), responses((status = 200, description = "Done", body = [EndedInstance]), Refused))]
pub(crate) async fn ended(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Query(page): Query<Page>,
) -> Result<Json<Vec<EndedInstance>>, ApiError> {
    caller.may(Action::LogsRead, Some(&tool)).await?;
    let newest = api.platform().logs().ended_instances(&tool).await?.into_iter().take(page.limit() as usize);
    Ok(Json(newest.map(EndedInstance::from).collect()))
}
