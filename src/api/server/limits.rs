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

/// How much longer an answer may take that is no stream than a database that is away is waited for, or nobody would be told of it.
const BEYOND: Duration = Duration::from_secs(15);

/// Bounds the time of these routes; a database that is away is waited for so long.
pub(crate) fn timed<S>(router: OpenApiRouter<S>, patience: Duration) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let most = patience.saturating_add(BEYOND);
    router.layer(from_fn(move |request, next| within(most, request, next)))
}

async fn within(most: Duration, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(most, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let seconds = most.as_secs();
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;
    use tokio::time::{Instant, sleep};
    use tower::ServiceExt;

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_longer_than_a_database_is_waited_for() {
        for patience in [0, 30, 600].map(Duration::from_secs) {
            let ask = async |takes: Duration| {
                let slow = get(move || async move { sleep(takes).await });
                let router = Router::from(timed(OpenApiRouter::new().route("/slow", slow), patience));
                let begun = Instant::now();
                let answer =
                    router.oneshot(Request::get("/slow").body(Body::empty()).unwrap()).await.unwrap();
                (answer.status(), begun.elapsed().as_secs())
            };
            let told = patience + Duration::from_secs(10);
            assert_eq!(ask(told).await, (StatusCode::OK, told.as_secs()));
            let late = patience + BEYOND;
            assert_eq!(ask(late * 2).await, (StatusCode::GATEWAY_TIMEOUT, late.as_secs()));
        }
    }
}
