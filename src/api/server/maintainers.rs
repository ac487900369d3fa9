//! `/tools/{tool}/maintainers`.

use super::Api;
use super::access::Caller;
use super::error::{ApiError, Refused};
use super::extract::{Body, InTool, Path, parse_tool};
use crate::types::{Maintainer, NewMaintainer, Role};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hythe_auth::Action;
use hythe_model::{Fault, MaintainerName, ToolName};

/// Who has rights on a tool, by name.
#[utoipa::path(get, path = "/tools/{tool}/maintainers", tag = "maintainers", operation_id = "list_maintainers", params(("tool" = String, Path)), responses((status = 200, description = "Done", body = [Maintainer]), Refused))]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
) -> Result<Json<Vec<Maintainer>>, ApiError> {
    caller.may(Action::ToolRead, Some(&tool)).await?;
    let rows = api.platform().store().members(&tool).await?;
    Ok(Json(rows.into_iter().map(Maintainer::from).collect()))
}

/// Gives somebody rights on a tool, or changes them.
#[utoipa::path(put, path = "/tools/{tool}/maintainers/{name}", tag = "maintainers", operation_id = "put_maintainer", params(("tool" = String, Path), ("name" = String, Path)), request_body = NewMaintainer, responses((status = 200, description = "Done", body = Maintainer), Refused))]
pub(crate) async fn put(
    State(api): State<Api>,
    caller: Caller,
    Path((tool, name)): Path<(String, String)>,
    Body(new): Body<NewMaintainer>,
) -> Result<Json<Maintainer>, ApiError> {
    let (tool, name) = manage(&caller, &tool, &name).await?;
    if api.platform().store().maintainer(&name).await?.is_none() {
        return Err(no_account(&name));
    }
    if new.role != Role::Owner {
        keep_an_owner(&api, &tool, &name).await?;
    }
    api.platform().store().set_member(&tool, &name, new.role.into()).await?;
    Ok(Json(Maintainer { name, role: new.role }))
}

/// Takes somebody's rights on a tool.
#[utoipa::path(delete, path = "/tools/{tool}/maintainers/{name}", tag = "maintainers", operation_id = "remove_maintainer", params(("tool" = String, Path), ("name" = String, Path)), responses((status = 204, description = "Done"), Refused))]
pub(crate) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path((tool, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (tool, name) = manage(&caller, &tool, &name).await?;
    keep_an_owner(&api, &tool, &name).await?;
    api.platform().store().remove_member(&tool, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn manage(caller: &Caller, tool: &str, name: &str) -> Result<(ToolName, MaintainerName), ApiError> {
    let tool = parse_tool(tool)?;
    caller.may(Action::MembersManage, Some(&tool)).await?;
    let name = name.parse().map_err(|error| ApiError::new("name", format!("{error}.")))?;
    Ok((tool, name))
}

/// Refuses to leave a tool without anybody who could give rights on it.
async fn keep_an_owner(api: &Api, tool: &ToolName, without: &MaintainerName) -> Result<(), ApiError> {
    let members = api.platform().store().members(tool).await?;
    let owner = |member: &&hythe_store::Member| member.role == hythe_store::Role::Owner;
    let mut owners = members.iter().filter(owner).map(|member| &member.maintainer);
    if owners.next() == Some(without) && owners.next().is_none() {
        return Err(ApiError::new("last-owner", format!("{without} is the only owner of {tool}.")).next(
            format!("Give it another owner first: hythe maintainers add NAME --role owner -t {tool}"),
        ));
    }
    Ok(())
}

fn no_account(name: &MaintainerName) -> ApiError {
    Fault::new("accounts/absent", format!("There is no account {name}."))
        .next(format!("An admin makes it: hythe accounts create {name}"))
        .into()
}
