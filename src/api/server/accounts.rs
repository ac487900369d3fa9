//! `/whoami` and `/accounts`.

use super::Api;
use super::access::Caller;
use super::error::{ApiError, Refused};
use super::extract::Body;
use super::tokens::issued;
use crate::types::{Account, IssuedAccount, NewAccount, ServerInfo, WhoAmI};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hythe_auth::Action;

/// Whose token this is, and the server.
#[utoipa::path(get, path = "/whoami", tag = "accounts", operation_id = "whoami", responses((status = 200, description = "Done", body = WhoAmI), Refused))]
pub(crate) async fn whoami(State(api): State<Api>, caller: Caller) -> Result<Json<WhoAmI>, ApiError> {
    let admin = caller.decide(Action::AdminMaintainers, None).await?.is_allowed();
    let server = ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        domain: api.0.domain.clone(),
        git: api.0.git.clone(),
    };
    Ok(Json(WhoAmI { actor: caller.actor, admin, server }))
}

/// All accounts, by name; for admins.
#[utoipa::path(get, path = "/accounts", tag = "accounts", operation_id = "list_accounts", responses((status = 200, description = "Done", body = [Account]), Refused))]
pub(crate) async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<Vec<Account>>, ApiError> {
    caller.may(Action::AdminMaintainers, None).await?;
    let rows = api.platform().store().maintainers().await?;
    Ok(Json(rows.into_iter().map(Account::from).collect()))
}

/// Makes an account with a first token; for admins.
#[utoipa::path(post, path = "/accounts", tag = "accounts", operation_id = "create_account", request_body = NewAccount, responses((status = 201, description = "Made", body = IssuedAccount), Refused))]
pub(crate) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(new): Body<NewAccount>,
) -> Result<(StatusCode, Json<IssuedAccount>), ApiError> {
    caller.may(Action::AdminMaintainers, None).await?;
    let row = api.platform().store().create_maintainer(&new.name, new.admin).await?;
    let token = api.0.auth.issue_token(&new.name, "first", None).await?;
    Ok((StatusCode::CREATED, Json(IssuedAccount { account: row.into(), first_token: issued(token) })))
}
