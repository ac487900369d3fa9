//! The server's side: every route under `/api/v1`, and the two health checks.

use hythe_pipeline::Platform;

/// What the routes stand on.
pub struct ApiParts {
    /// The platform.
    pub platform: Platform,
    /// Tools answer at `<tool>.<domain>`.
    pub domain: String,
    /// What git remotes start with, as in `ssh://hythe@hythe.example.org:2222`.
    pub git: String,
}

/// Every route of the API, to be served on the platform's own host name.
pub fn routes(parts: ApiParts) -> axum::Router {
    drop(parts);
    todo!()
}

/// The OpenAPI document as JSON.
pub fn document() -> String {
    todo!()
}
