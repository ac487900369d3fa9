//! `/tokens`: the caller's own.

use super::Api;
use super::access::Caller;
use super::error::{ApiError, Refused};
use super::extract::{Body, Path};
use crate::types::{IssuedToken, NewToken, Token};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hythe_auth::Action;
use secrecy::ExposeSecret;
use std::time::Duration;

/// The longest name, in characters.
const NAME_MAX: usize = 100;

/// A token as its owner sees it this once.
pub(crate) fn issued(issued: hythe_auth::IssuedToken) -> IssuedToken {
    IssuedToken { secret: issued.token.expose_secret().to_owned(), token: issued.row.into() }
}

/// Your tokens, oldest first.
#[utoipa::path(get, path = "/tokens", tag = "tokens", operation_id = "list_tokens", responses((status = 200, description = "Done", body = [Token]), Refused))]
pub(crate) async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<Vec<Token>>, ApiError> {
    caller.may(Action::TokensManage, None).await?;
    let rows = api.platform().store().tokens(caller.maintainer()?).await?;
    Ok(Json(rows.into_iter().map(Token::from).collect()))
}

/// Issues a token of yours.
#[utoipa::path(post, path = "/tokens", tag = "tokens", operation_id = "create_token", request_body = NewToken, responses((status = 201, description = "Made", body = IssuedToken), Refused))]
pub(crate) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<IssuedToken>), ApiError> {
    caller.may(Action::TokensManage, None).await?;
    check_label(&new.name)?;
    if new.expires_in == Some(0) {
        return Err(ApiError::new("lifetime", "A token that ends at once is of no use."));
    }
    let lifetime = new.expires_in.map(Duration::from_secs);
    let token = api.0.auth.issue_token(caller.maintainer()?, &new.name, lifetime).await?;
    Ok((StatusCode::CREATED, Json(issued(token))))
}

/// Revokes a token of yours.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", operation_id = "revoke_token", params(("id" = i64, Path)), responses((status = 204, description = "Done"), Refused))]
pub(crate) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<StatusCode, ApiError> {
    caller.may(Action::TokensManage, None).await?;
    api.platform().store().revoke_token(caller.maintainer()?, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses what would not fit into a line of a list.
pub(crate) fn check_label(name: &str) -> Result<(), ApiError> {
    if name.trim().is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(ApiError::new("name", format!("A name is one line of at most {NAME_MAX} characters.")));
    }
    Ok(())
}
