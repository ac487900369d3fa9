//! What bounds a request: the size of its body, and its time where the answer is no stream.

use super::Api;
use super::error::ApiError;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

/// How long an answer may take that is no stream: longer than a database that is away is waited for, or nobody would be told of it.
const ANSWER: Duration = Duration::from_secs(45);

/// Bounds the time of these routes.
pub(crate) fn timed(router: OpenApiRouter<Api>) -> OpenApiRouter<Api> {
    router.layer(from_fn(within))
}

async fn within(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(ANSWER, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let seconds = ANSWER.as_secs();
        ApiError::new("timeout", format!("The platform did not answer within {seconds} s.")).into_response()
    })
}

/// Bounds that hold for every route.
pub(crate) fn outer(router: Router<Api>, body: usize) -> Router<Api> {
    router.layer(DefaultBodyLimit::max(body)).layer(CatchPanicLayer::custom(panicked))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer asks for")]
fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let text = cause.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(api.panic = text, "a request panicked");
    ApiError::new("internal", "The platform failed to answer.")
        .next("Try again, or tell the operator.")
        .into_response()
}
