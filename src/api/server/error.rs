//! Refusals: one table from a fault to a status, one shape of body.

use crate::types::ErrorBody;
use axum::Json;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hythe_auth::{AuthError, Decision};
use hythe_events::EventsError;
use hythe_model::Fault;
use hythe_store::StoreError;
use std::collections::BTreeMap;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

/// The last part of a fault's id, and the status that it means. What is not here could be understood and not be done.
const STATUS: &[(&str, StatusCode)] = &[
    ("unauthorized", StatusCode::UNAUTHORIZED),
    ("too-many-attempts", StatusCode::TOO_MANY_REQUESTS),
    ("too-many", StatusCode::TOO_MANY_REQUESTS),
    ("forbidden", StatusCode::FORBIDDEN),
    ("absent", StatusCode::NOT_FOUND),
    ("no-route", StatusCode::NOT_FOUND),
    ("no-method", StatusCode::METHOD_NOT_ALLOWED),
    ("malformed", StatusCode::BAD_REQUEST),
    ("too-large", StatusCode::PAYLOAD_TOO_LARGE),
    ("media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ("no-websocket", StatusCode::UPGRADE_REQUIRED),
    ("exists", StatusCode::CONFLICT),
    ("conflict", StatusCode::CONFLICT),
    ("over", StatusCode::CONFLICT),
    ("none", StatusCode::CONFLICT),
    ("never-live", StatusCode::CONFLICT),
    ("branch-moved", StatusCode::CONFLICT),
    ("internal", StatusCode::INTERNAL_SERVER_ERROR),
    ("sealing", StatusCode::INTERNAL_SERVER_ERROR),
    ("draining", StatusCode::SERVICE_UNAVAILABLE),
    ("away", StatusCode::SERVICE_UNAVAILABLE),
    ("busy", StatusCode::SERVICE_UNAVAILABLE),
    ("unclear", StatusCode::INTERNAL_SERVER_ERROR),
    ("timeout", StatusCode::GATEWAY_TIMEOUT),
];

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    fault: Fault,
    /// Seconds after which it is worth another try, where that is known.
    retry_after: Option<u64>,
}

impl ApiError {
    /// A refusal of the API's own.
    pub(crate) fn new(kind: &str, what: impl Into<String>) -> Self {
        Fault::new(format!("api/{kind}"), what).into()
    }

    fn of(status: StatusCode, fault: Fault) -> Self {
        Self { status, fault, retry_after: None }
    }

    /// Says after how many seconds it is worth another try.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self.next(format!("Try again in {seconds} s."))
    }

    /// Adds a line of detail.
    pub(crate) fn why(mut self, line: impl Into<String>) -> Self {
        self.fault = self.fault.why(line);
        self
    }

    /// Adds a line that says what to do.
    pub(crate) fn next(mut self, line: impl Into<String>) -> Self {
        self.fault = self.fault.next(line);
        self
    }

    /// The server's own failure: logged here, in a sentence without detail outside.
    fn internal(room: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(api.room = room, error = %error, "a request failed");
        Self::new("internal", "The platform failed to answer.").next("Try again, or tell the operator.")
    }

    /// The status it has.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

fn status(id: &str) -> StatusCode {
    let kind = id.rsplit('/').next().unwrap_or(id);
    let known = STATUS.iter().find(|(known, _)| *known == kind);
    known.map_or(StatusCode::UNPROCESSABLE_ENTITY, |(_, status)| *status)
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        match fault.id.as_str() {
            // The rooms' own failures carry paths and the system's words: they are for the log.
            "store/failed" | "events/failed" => Self::internal("platform", &fault),
            id => Self::of(status(id), fault),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Exists { .. }
            | StoreError::Absent { .. }
            | StoreError::Conflict { .. }
            | StoreError::Ended { .. } => Fault::from(error).into(),
            // Their faults leave out where the database is and what it said.
            StoreError::Away { .. } | StoreError::Busy { .. } | StoreError::Unclear { .. } => {
                tracing::error!(api.room = "store", error = %error, "a request failed");
                Fault::from(error).into()
            }
            error => Self::internal("store", &error),
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Store(error) => error.into(),
            error @ AuthError::Key(_) => Fault::from(error).into(),
        }
    }
}

impl From<EventsError> for ApiError {
    fn from(error: EventsError) -> Self {
        Self::internal("events", &error)
    }
}

/// A decision as a result: what an actor may not know of is absent.
pub(crate) fn permitted(decision: Decision) -> Result<(), ApiError> {
    match decision {
        Decision::Allowed => Ok(()),
        Decision::Forbidden(fault) => Err(ApiError::of(StatusCode::FORBIDDEN, fault)),
        Decision::Absent(fault) => Err(ApiError::of(StatusCode::NOT_FOUND, fault)),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody::from(self.fault))).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Says in the document that everything but the success is a fault.
pub(crate) struct Refused;

impl utoipa::IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Fault"))).build();
        let response = ResponseBuilder::new()
            .description("It was refused, or failed: what happened, why, and what to do")
            .content("application/json", content)
            .build();
        [("default".to_owned(), response.into())].into()
    }
}

/// The answer to a path that nothing serves.
pub(crate) async fn no_route(uri: Uri) -> ApiError {
    ApiError::new("no-route", format!("The API has no `{}`.", shortened(uri.path())))
        .next("GET /api/v1/openapi.json describes what it has.")
}

/// The answer to a method that a path does not have.
pub(crate) async fn no_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new("no-method", format!("`{}` cannot be asked with {method}.", shortened(uri.path())))
        .next("GET /api/v1/openapi.json describes what it has.")
}

fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faults_kind_is_its_status() {
        assert_eq!(status("tools/absent"), StatusCode::NOT_FOUND);
        assert_eq!(status("store/exists"), StatusCode::CONFLICT);
        assert_eq!(status("rollout/crashed"), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(status("platform/internal"), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn what_only_the_operator_may_know_stays_inside() {
        let fault =
            Fault::new("store/failed", "The database failed to read /srv/hythe/hythe.db: disk I/O error.");
        let error = ApiError::from(fault);
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.fault.to_string().contains("/srv"), "{}", error.fault);
    }
}
