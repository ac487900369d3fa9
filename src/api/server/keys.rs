//! `/keys`: the caller's own; `/tools/{tool}/keys`: deploy keys of a tool.

use super::Api;
use super::access::Caller;
use super::error::{ApiError, Refused};
use super::extract::{Body, InTool, Path, parse_tool};
use super::tokens::check_label;
use crate::types::{Key, NewKey};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hythe_auth::{Action, AuthError, PublicKey};
use hythe_store::KeyOwner;

/// Your public keys, oldest first.
#[utoipa::path(get, path = "/keys", tag = "keys", operation_id = "list_keys", responses((status = 200, description = "Done", body = [Key]), Refused))]
pub(crate) async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<Vec<Key>>, ApiError> {
    let owner = own(&caller).await?;
    keys_of(&api, &owner).await
}

/// Adds a public key of yours.
#[utoipa::path(post, path = "/keys", tag = "keys", operation_id = "add_key", request_body = NewKey, responses((status = 201, description = "Made", body = Key), Refused))]
pub(crate) async fn add(
    State(api): State<Api>,
    caller: Caller,
    Body(new): Body<NewKey>,
) -> Result<(StatusCode, Json<Key>), ApiError> {
    let owner = own(&caller).await?;
    add_to(&api, owner, new).await
}

/// Removes a public key of yours.
#[utoipa::path(delete, path = "/keys/{fingerprint}", tag = "keys", operation_id = "remove_key", params(("fingerprint" = String, Path)), responses((status = 204, description = "Done"), Refused))]
pub(crate) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path(fingerprint): Path<String>,
) -> Result<StatusCode, ApiError> {
    let owner = own(&caller).await?;
    remove_from(&api, &owner, &fingerprint).await
}

/// Deploy keys of a tool, oldest first.
#[utoipa::path(get, path = "/tools/{tool}/keys", tag = "keys", operation_id = "list_deploy_keys", params(("tool" = String, Path)), responses((status = 200, description = "Done", body = [Key]), Refused))]
pub(crate) async fn list_deploy(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
) -> Result<Json<Vec<Key>>, ApiError> {
    caller.may(Action::KeysManage, Some(&tool)).await?;
    keys_of(&api, &KeyOwner::Deploy(tool)).await
}

/// Adds a deploy key: it may push to this tool and nothing else.
#[utoipa::path(post, path = "/tools/{tool}/keys", tag = "keys", operation_id = "add_deploy_key", params(("tool" = String, Path)), request_body = NewKey, responses((status = 201, description = "Made", body = Key), Refused))]
pub(crate) async fn add_deploy(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Body(new): Body<NewKey>,
) -> Result<(StatusCode, Json<Key>), ApiError> {
    caller.may(Action::KeysManage, Some(&tool)).await?;
    add_to(&api, KeyOwner::Deploy(tool), new).await
}

/// Removes a deploy key.
#[utoipa::path(delete, path = "/tools/{tool}/keys/{fingerprint}", tag = "keys", operation_id = "remove_deploy_key", params(("tool" = String, Path), ("fingerprint" = String, Path)), responses((status = 204, description = "Done"), Refused))]
pub(crate) async fn remove_deploy(
    State(api): State<Api>,
    caller: Caller,
    Path((tool, fingerprint)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let tool = parse_tool(&tool)?;
    caller.may(Action::KeysManage, Some(&tool)).await?;
    remove_from(&api, &KeyOwner::Deploy(tool), &fingerprint).await
}

async fn own(caller: &Caller) -> Result<KeyOwner, ApiError> {
    caller.may(Action::KeysManage, None).await?;
    Ok(KeyOwner::Maintainer(caller.maintainer()?.clone()))
}

async fn keys_of(api: &Api, owner: &KeyOwner) -> Result<Json<Vec<Key>>, ApiError> {
    let rows = api.platform().store().keys(owner).await?;
    Ok(Json(rows.into_iter().map(Key::from).collect()))
}

async fn add_to(api: &Api, owner: KeyOwner, new: NewKey) -> Result<(StatusCode, Json<Key>), ApiError> {
    let key = PublicKey::parse(new.key.trim()).map_err(AuthError::from)?;
    let title = new.name.unwrap_or_else(|| key.comment().to_owned());
    let title = if title.trim().is_empty() { key.algorithm().to_owned() } else { title };
    check_label(&title)?;
    let row = api.0.auth.add_key(owner, &key, &title).await?;
    Ok((StatusCode::CREATED, Json(row.into())))
}

async fn remove_from(api: &Api, owner: &KeyOwner, fingerprint: &str) -> Result<StatusCode, ApiError> {
    api.platform().store().remove_key(owner, fingerprint).await?;
    Ok(StatusCode::NO_CONTENT)
}
