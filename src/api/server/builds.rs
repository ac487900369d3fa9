//! Builds: list, show, cancel, and their logs as they grow.

use super::Api;
use super::access::Caller;
use super::error::{ApiError, Refused};
use super::extract::{Body, InTool, OfBuild, Query};
use super::stream;
use crate::types::{Build, BuildRecord, Redeploy};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures::StreamExt;
use hythe_auth::Action;
use serde::Deserialize;
use utoipa::IntoParams;

/// The most objects of one list.
pub(crate) const LIST_MAX: u32 = 500;

/// How much of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// At most so many; 500 at most.
    #[serde(default = "Page::usual")]
    #[param(default = 50)]
    limit: u32,
}

impl Page {
    fn usual() -> u32 {
        50
    }

    /// The limit, within bounds.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.clamp(1, LIST_MAX)
    }
}

/// What of a build's log.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogPart {
    /// From this position on; 0 and 1 are the start.
    #[serde(default)]
    from: u64,
    /// Wait for more until the build ends.
    #[serde(default)]
    follow: bool,
}

/// A tool's builds, newest first.
#[utoipa::path(get, path = "/tools/{tool}/builds", tag = "builds", operation_id = "list_builds", params(("tool" = String, Path), Page), responses((status = 200, description = "Done", body = [Build]), Refused))]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Build>>, ApiError> {
    caller.may(Action::ToolRead, Some(&tool)).await?;
    let rows = api.platform().store().builds(&tool, page.limit()).await?;
    Ok(Json(rows.into_iter().map(Build::from).collect()))
}

/// One build.
#[utoipa::path(get, path = "/builds/{build}", tag = "builds", operation_id = "get_build", params(("build" = i64, Path)), responses((status = 200, description = "Done", body = Build), Refused))]
pub(crate) async fn get(caller: Caller, OfBuild(id): OfBuild) -> Result<Json<Build>, ApiError> {
    Ok(Json(caller.build(id, Action::ToolRead).await?.into()))
}

/// Ends a build whose release is not live yet.
#[utoipa::path(post, path = "/builds/{build}/cancel", tag = "builds", operation_id = "cancel_build", params(("build" = i64, Path)), responses((status = 200, description = "Done", body = Build), Refused))]
pub(crate) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    OfBuild(id): OfBuild,
) -> Result<Json<Build>, ApiError> {
    caller.build(id, Action::BuildCancel).await?;
    api.platform().cancel_build(id).await?;
    get(caller, OfBuild(id)).await
}

/// A build's log as JSON lines; with `follow` until the build has ended.
#[utoipa::path(get, path = "/builds/{build}/log", tag = "builds", operation_id = "read_build_log", params(("build" = i64, Path), LogPart), responses((status = 200, description = "Done", body = BuildRecord, content_type = "application/x-ndjson"), Refused))]
pub(crate) async fn log(
    State(api): State<Api>,
    caller: Caller,
    OfBuild(id): OfBuild,
    Query(part): Query<LogPart>,
) -> Result<Response, ApiError> {
    let build = caller.build(id, Action::LogsRead).await?;
    let (logs, stop) = (api.platform().logs(), api.0.shutdown.clone());
    if part.follow {
        let events = logs.tail(id, part.from).map(|event| event.map(BuildRecord::from));
        return Ok(if build.state.is_finished() {
            stream::lines(stream::until_silent(events), stop)
        } else {
            stream::lines(events, stop)
        });
    }
    let events = logs.build_events(id, part.from).await?;
    let events = events.into_iter().map(|event| Ok::<_, ApiNever>(BuildRecord::from(event)));
    Ok(stream::lines(futures::stream::iter(events), stop))
}

/// An error that never happens.
type ApiNever = std::convert::Infallible;

/// Builds the live commit again; the build's log tells the rest.
#[utoipa::path(post, path = "/tools/{tool}/redeploy", tag = "builds", operation_id = "redeploy", params(("tool" = String, Path)), request_body = Redeploy, responses((status = 202, description = "Queued", body = Build), Refused))]
pub(crate) async fn redeploy(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Body(how): Body<Redeploy>,
) -> Result<(StatusCode, Json<Build>), ApiError> {
    caller.may(Action::Redeploy, Some(&tool)).await?;
    let (platform, actor) = (api.platform().clone(), caller.actor.clone());
    let work = async move { platform.redeploy(&actor, &tool, how.no_cache).await };
    let id = stream::to_its_end(api.work(), work).await?;
    let build = caller.build(id, Action::Redeploy).await?;
    Ok((StatusCode::ACCEPTED, Json(build.into())))
}
