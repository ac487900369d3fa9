//! `/healthz`, `/readyz` and the document itself: the only answers without a token.

use super::Api;
use super::error::{ApiError, Refused};
use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The server is up.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Its version.
    version: &'static str,
}

const HEALTH: Health = Health { version: env!("CARGO_PKG_VERSION") };

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", operation_id = "healthz", security(()), responses((status = 200, description = "Done", body = Health)))]
pub(crate) async fn healthz() -> Json<Health> {
    Json(HEALTH)
}

/// The server takes requests: it does not drain.
///
/// It serves once its database has answered. One that goes away later is waited for, and tools are served meanwhile.
#[utoipa::path(get, path = "/readyz", tag = "health", operation_id = "readyz", security(()), responses((status = 200, description = "Done", body = Health), Refused))]
pub(crate) async fn readyz(State(api): State<Api>) -> Result<Json<Health>, ApiError> {
    if api.0.shutdown.is_cancelled() {
        return Err(ApiError::new("draining", "The server is stopping."));
    }
    Ok(Json(HEALTH))
}

/// The document as an answer.
pub(crate) fn document(json: &str) -> Response {
    ([(CONTENT_TYPE, "application/json")], json.to_owned()).into_response()
}
