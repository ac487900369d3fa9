//! `/tools`: make, list, show, set and delete them.

use super::Api;
use super::access::Caller;
use super::error::{ApiError, Refused};
use super::extract::{Body, InTool};
use super::stream;
use crate::types::{NewTool, Progress, Tool, ToolSettings, ToolState};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use hythe_auth::Action;
use hythe_model::{Fault, Release};
use hythe_rollout::{InstanceState, InstanceStatus};
use jiff::Timestamp;

/// The most branches that a tool deploys from.
const BRANCHES_MAX: usize = 20;

/// Your tools, by name; all of them for admins.
#[utoipa::path(get, path = "/tools", tag = "tools", operation_id = "list_tools", responses((status = 200, description = "Done", body = [Tool]), Refused))]
pub(crate) async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<Vec<Tool>>, ApiError> {
    let store = api.platform().store();
    let all = caller.decide(Action::AdminMaintainers, None).await?.is_allowed();
    let rows = if all { store.tools().await? } else { store.tools_of(caller.maintainer()?).await? };
    let live = store.live_releases().await?;
    let mut tools = Vec::with_capacity(rows.len());
    for row in rows {
        let release = live.iter().find(|release| release.tool == row.name);
        tools.push(shown(&api, row, release).await?);
    }
    Ok(Json(tools))
}

/// Makes a tool; you become its owner.
#[utoipa::path(post, path = "/tools", tag = "tools", operation_id = "create_tool", request_body = NewTool, responses((status = 201, description = "Made", body = Tool), Refused))]
pub(crate) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(new): Body<NewTool>,
) -> Result<(StatusCode, Json<Tool>), ApiError> {
    caller.may(Action::ToolCreate, None).await?;
    let platform = api.platform().clone();
    let work = async move { platform.create_tool(&caller.actor, new.name).await };
    let row = stream::to_its_end(api.work(), work).await?;
    Ok((StatusCode::CREATED, Json(shown(&api, row, None).await?)))
}

/// One tool.
#[utoipa::path(get, path = "/tools/{tool}", tag = "tools", operation_id = "get_tool", params(("tool" = String, Path)), responses((status = 200, description = "Done", body = Tool), Refused))]
pub(crate) async fn get(
    State(api): State<Api>,
    caller: Caller,
    InTool(name): InTool,
) -> Result<Json<Tool>, ApiError> {
    caller.may(Action::ToolRead, Some(&name)).await?;
    let (row, live) =
        tokio::try_join!(api.platform().store().tool(&name), api.platform().store().live_release(&name))?;
    let row = row.ok_or_else(|| absent(&name))?;
    Ok(Json(shown(&api, row, live.as_ref()).await?))
}

/// Replaces a tool's settings; they count from its next release.
#[utoipa::path(put, path = "/tools/{tool}/settings", tag = "tools", operation_id = "set_tool", params(("tool" = String, Path)), request_body = ToolSettings, responses((status = 200, description = "Done", body = Tool), Refused))]
pub(crate) async fn set(
    State(api): State<Api>,
    caller: Caller,
    InTool(name): InTool,
    Body(settings): Body<ToolSettings>,
) -> Result<Json<Tool>, ApiError> {
    caller.may(Action::ToolSettings, Some(&name)).await?;
    check(&settings)?;
    api.platform().store().set_tool_settings(&name, &settings.into()).await?;
    get(State(api), caller, InTool(name)).await
}

/// Deletes a tool: instances, route, releases, repository, config, logs. A rollout under way is waited for.
#[utoipa::path(delete, path = "/tools/{tool}", tag = "tools", operation_id = "delete_tool", params(("tool" = String, Path)), responses((status = 200, description = "Done", body = Progress, content_type = "application/x-ndjson"), Refused))]
pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    InTool(name): InTool,
) -> Result<Response, ApiError> {
    caller.may(Action::ToolDelete, Some(&name)).await?;
    let platform = api.platform().clone();
    let work = async move { platform.delete_tool(&name).await.map(|()| None::<Release>) };
    stream::progress(api.work(), api.images(), work).await
}

fn absent(name: &hythe_model::ToolName) -> ApiError {
    Fault::new("tools/absent", format!("There is no tool {name}, or it is not yours.")).into()
}

async fn shown(api: &Api, row: hythe_store::Tool, live: Option<&Release>) -> Result<Tool, ApiError> {
    let instances = api.platform().instances(&row.name).await?;
    let Condition { state, since, detail } = condition(live, &instances);
    Ok(Tool {
        state,
        detail,
        release: live.map(|release| release.number),
        since,
        url: api.platform().url(&row.name),
        git: format!("{}/{}", api.0.git, row.name),
        settings: row.settings.into(),
        created_at: row.created_at,
        name: row.name,
    })
}

/// How a tool is, since when, and why where it is not well.
#[derive(Debug, PartialEq)]
struct Condition {
    state: ToolState,
    since: Option<Timestamp>,
    detail: Option<String>,
}

fn condition(live: Option<&Release>, instances: &[InstanceStatus]) -> Condition {
    let Some(release) = live else { return Condition { state: ToolState::Empty, since: None, detail: None } };
    let serving: Vec<_> = instances.iter().filter(|status| status.id.release == release.number).collect();
    let within =
        |wanted: fn(&InstanceState) -> bool| serving.iter().filter(move |status| wanted(&status.state));
    if let Some(crashed) =
        within(|state| matches!(state, InstanceState::Crashed { .. })).min_by_key(|s| s.since)
    {
        let detail = crashed.last_exit.as_ref().map(hythe_rollout::ExitReason::text);
        return Condition { state: ToolState::Crashing, since: Some(crashed.since), detail };
    }
    if release.formation.0.values().all(|count| *count == 0) {
        return Condition { state: ToolState::Stopped, since: Some(release.created_at), detail: None };
    }
    let starting = within(|state| matches!(state, InstanceState::Starting)).map(|status| status.since).min();
    let ready = within(|state| matches!(state, InstanceState::Ready)).map(|status| status.since).max();
    match (starting, ready) {
        (None, Some(since)) => Condition { state: ToolState::Healthy, since: Some(since), detail: None },
        (since, _) => Condition { state: ToolState::Starting, since, detail: None },
    }
}

fn check(settings: &ToolSettings) -> Result<(), ApiError> {
    let refuse = |what: &str| Err(ApiError::new("settings", what));
    let branches = &settings.deploy_branches;
    if branches.is_empty() || branches.len() > BRANCHES_MAX {
        return refuse("A tool deploys from 1 to 20 branches.");
    }
    if let Some(branch) = branches.iter().find(|branch| !is_branch(branch)) {
        return refuse(&format!("`{}` is not a branch's name.", branch.chars().take(60).collect::<String>()));
    }
    let plain = |path: &String| {
        path.starts_with('/') && path.len() <= 1024 && path.bytes().all(|b| b.is_ascii_graphic())
    };
    if settings.health_path.as_ref().is_some_and(|path| !plain(path)) {
        return refuse("A health path starts with a slash and has no spaces, as in /healthz.");
    }
    if settings.readiness_seconds.is_some_and(|seconds| !(1..=3600).contains(&seconds)) {
        return refuse("A release may take 1 to 3600 seconds to get ready.");
    }
    if settings.grace_seconds.is_some_and(|seconds| !(1..=600).contains(&seconds)) {
        return refuse("An instance may take 1 to 600 seconds to stop.");
    }
    if settings.memory_bytes.is_some_and(|bytes| bytes < 16_000_000) {
        return refuse("An instance has at least 16 MB of memory.");
    }
    Ok(())
}

/// The rules of `git check-ref-format` that a branch's name can break.
fn is_branch(name: &str) -> bool {
    let refused = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && std::path::Path::new(part).extension().is_none_or(|end| end != "lock")
    };
    name.len() <= 200
        && !name.starts_with('-')
        && !name.ends_with('.')
        && name != "@"
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains(refused)
        && name.split('/').all(part)
}

#[cfg(test)]
mod tests;
