//! The platform's own service: what answers at its own host names.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use std::convert::Infallible;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body of the platform's own service.
pub type RouterBody = UnsyncBoxBody<Bytes, BoxError>;

/// The service behind the platform's own host names. Cheap to clone.
#[derive(Clone)]
pub struct Fallback(pub(crate) BoxCloneSyncService<Request<Incoming>, Response<RouterBody>, Infallible>);

impl Fallback {
    /// Wraps a tower service, as an axum router is one.
    ///
    /// Requests carry [`crate::ClientAddr`] as an extension.
    pub fn new<S, B>(service: S) -> Self
    where
        S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let boxed = |answer: Response<B>| answer.map(|body| body.map_err(Into::into).boxed_unsync());
        Self(BoxCloneSyncService::new(service.map_response(boxed)))
    }
}

impl std::fmt::Debug for Fallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fallback")
    }
}
