//! Releases, the verbs that make one without a build, and what runs.

use super::Api;
use super::access::Caller;
use super::builds::Page;
use super::error::{ApiError, Refused};
use super::extract::{Body, InTool, Path, Query, parse, parse_tool};
use super::stream;
use crate::types::{Instance, Progress, Release, Rollback, Scale};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use hythe_auth::Action;
use hythe_model::Formation;

/// A tool's releases, newest first.
#[utoipa::path(get, path = "/tools/{tool}/releases", tag = "releases", operation_id = "list_releases", params(("tool" = String, Path), Page), responses((status = 200, description = "Done", body = [Release]), Refused))]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Release>>, ApiError> {
    caller.may(Action::ToolRead, Some(&tool)).await?;
    let rows = api.platform().store().releases(&tool, page.limit()).await?;
    Ok(Json(rows.into_iter().map(|row| Release::of(row, api.images())).collect()))
}

/// Ends a rollout whose release is not live yet.
#[utoipa::path(post, path = "/tools/{tool}/releases/{release}/cancel", tag = "releases", operation_id = "cancel_release", params(("tool" = String, Path), ("release" = String, Path)), responses((status = 204, description = "It is told to end"), Refused))]
pub(crate) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Path((tool, release)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let tool = parse_tool(&tool)?;
    caller.may(Action::BuildCancel, Some(&tool)).await?;
    api.platform().cancel_release(&tool, parse(&release)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What runs of a tool.
#[utoipa::path(get, path = "/tools/{tool}/instances", tag = "releases", operation_id = "list_instances", params(("tool" = String, Path)), responses((status = 200, description = "Done", body = [Instance]), Refused))]
pub(crate) async fn instances(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
) -> Result<Json<Vec<Instance>>, ApiError> {
    caller.may(Action::ToolRead, Some(&tool)).await?;
    let instances = api.platform().instances(&tool).await?;
    Ok(Json(instances.into_iter().map(Instance::from).collect()))
}

/// Releases the image, config and counts of an earlier release; nothing is built.
#[utoipa::path(post, path = "/tools/{tool}/rollback", tag = "releases", operation_id = "rollback", params(("tool" = String, Path)), request_body = Rollback, responses((status = 200, description = "Done", body = Progress, content_type = "application/x-ndjson"), Refused))]
pub(crate) async fn rollback(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Body(Rollback { to }): Body<Rollback>,
) -> Result<Response, ApiError> {
    caller.may(Action::Rollback, Some(&tool)).await?;
    let platform = api.platform().clone();
    let work = async move { platform.rollback(&caller.actor, &tool, to).await.map(Some) };
    stream::progress(api.work(), api.images(), work).await
}

/// Replaces every instance.
#[utoipa::path(post, path = "/tools/{tool}/restart", tag = "releases", operation_id = "restart", params(("tool" = String, Path)), responses((status = 200, description = "Done", body = Progress, content_type = "application/x-ndjson"), Refused))]
pub(crate) async fn restart(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
) -> Result<Response, ApiError> {
    caller.may(Action::Restart, Some(&tool)).await?;
    let platform = api.platform().clone();
    let work = async move { platform.restart(&caller.actor, &tool).await.map(Some) };
    stream::progress(api.work(), api.images(), work).await
}

/// Changes how many instances run.
#[utoipa::path(post, path = "/tools/{tool}/scale", tag = "releases", operation_id = "scale", params(("tool" = String, Path)), request_body = Scale, responses((status = 200, description = "Done", body = Progress, content_type = "application/x-ndjson"), Refused))]
pub(crate) async fn scale(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Body(Scale { formation }): Body<Scale>,
) -> Result<Response, ApiError> {
    caller.may(Action::Scale, Some(&tool)).await?;
    if formation.0.is_empty() {
        return Err(ApiError::new("scale", "No process type was named.").next("As in: hythe scale web=2"));
    }
    if let Some((process, _)) = formation.0.iter().find(|(_, count)| **count > Formation::MOST) {
        let most = Formation::MOST;
        return Err(ApiError::new("scale", format!("{process} may have {most} instances at most.")));
    }
    let platform = api.platform().clone();
    let work = async move { platform.scale(&caller.actor, &tool, formation).await.map(Some) };
    stream::progress(api.work(), api.images(), work).await
}
