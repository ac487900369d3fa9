//! What a request says: path, query and body, each refused in words where it cannot be read.

use super::Api;
use super::error::ApiError;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use hythe_model::{BuildId, Fault, ToolName};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        Json::from_request(request, api)
            .await
            .map(|Json(body)| Self(body))
            .map_err(|rejection| refuse_body(&rejection))
    }
}

fn refuse_body(rejection: &JsonRejection) -> ApiError {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new("too-large", "The body of the request is too large."),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ApiError::new("media-type", "The body must be JSON.").next("Send Content-Type: application/json")
        }
        _ => ApiError::new("malformed", "The body of the request cannot be read.").why(rejection.body_text()),
    }
}

/// Parameters of the query.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let query = axum::extract::Query::from_request_parts(parts, api).await;
        query.map(|axum::extract::Query(query)| Self(query)).map_err(|rejection| {
            ApiError::new("malformed", "The query of the request cannot be read.").why(rejection.body_text())
        })
    }
}

/// Segments of the path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, api).await;
        path.map(|axum::extract::Path(path)| Self(path)).map_err(|rejection| {
            ApiError::new("malformed", "The path of the request cannot be read.").why(rejection.body_text())
        })
    }
}

/// The path's only segment, a tool. What is no name cannot be the name of a tool, so it is absent.
pub(crate) struct InTool(pub(crate) ToolName);

impl FromRequestParts<Api> for InTool {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, api).await?;
        parse_tool(&name).map(Self)
    }
}

/// A tool's name, or the answer that there is no such tool.
pub(crate) fn parse_tool(name: &str) -> Result<ToolName, ApiError> {
    name.parse().map_err(|_| {
        let name: String = name.chars().take(60).collect();
        ApiError::from(Fault::new("tools/absent", format!("There is no tool {name}, or it is not yours.")))
    })
}

/// A segment of the path that is more than text.
pub(crate) fn parse<T: FromStr<Err: Display>>(segment: &str) -> Result<T, ApiError> {
    segment.parse().map_err(|error| ApiError::new("malformed", format!("{error}.")))
}

/// The path's only segment, a build.
pub(crate) struct OfBuild(pub(crate) BuildId);

impl FromRequestParts<Api> for OfBuild {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let Path(id) = Path::<i64>::from_request_parts(parts, api).await?;
        Ok(Self(BuildId(id)))
    }
}
