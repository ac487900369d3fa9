//! The server's side: every route under `/api/v1`, its document, and the two health checks.
//!
//! Enter at [`routes`]. Each handler asks [`access::Caller`] whether it may, then reads rows or asks the platform.

mod access;
mod accounts;
mod attach;
mod builds;
mod config;
mod convert;
mod error;
mod extract;
mod health;
mod jobs;
mod keys;
mod limits;
mod logs;
mod maintainers;
mod releases;
mod run;
mod runs;
mod stream;
mod tokens;
mod tools;
mod work;

pub use runs::Runs;
pub use work::Work;

use axum::Router;
use hythe_auth::Auth;
use hythe_pipeline::Platform;
use hythe_registry::Prefix;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes as handlers;

/// What the routes stand on.
pub struct ApiParts {
    /// The platform.
    pub platform: Platform,
    /// Who is who, and who may what.
    pub auth: Auth,
    /// Tools answer at `<tool>.<domain>`.
    pub domain: String,
    /// What git remotes start with, as in `ssh://hythe.example.org:2222`; no slash at the end.
    pub git: String,
    /// The largest body of a request, in bytes.
    pub body: usize,
    /// Where nodes pull images from.
    pub images: Prefix,
    /// How long a database that is away is waited for.
    pub patience: Duration,
    /// Cancelled when the server drains: streams that would wait end, `/readyz` says no.
    pub shutdown: CancellationToken,
    /// One-off processes under way.
    pub runs: Runs,
    /// What requests have begun.
    pub work: Work,
}

/// The state of every handler.
#[derive(Clone)]
struct Api(Arc<ApiParts>);

impl Api {
    fn platform(&self) -> &Platform {
        &self.0.platform
    }

    fn images(&self) -> &Prefix {
        &self.0.images
    }

    fn work(&self) -> &Work {
        &self.0.work
    }
}

/// Every route of the API, to be served on the platform's own host name, behind the router: `X-Forwarded-For` is its
/// word on who asks.
pub fn routes(parts: ApiParts) -> Router {
    let (body, patience) = (parts.body, parts.patience);
    let api = Api(Arc::new(parts));
    let (router, document) = described(patience).split_for_parts();
    let document = Arc::new(in_json(&document));
    let serve = move || async move { health::document(&document) };
    let router = router.route("/api/v1/openapi.json", axum::routing::get(serve));
    let router = router.fallback(error::no_route).method_not_allowed_fallback(error::no_method);
    limits::outer(router, body).with_state(api)
}

/// The health of a server that does not answer the API: alive, and ready.
pub fn health(parts: ApiParts) -> Router {
    let body = parts.body;
    let health = OpenApiRouter::new().routes(handlers!(health::healthz)).routes(handlers!(health::readyz));
    let router = Router::from(health).fallback(error::no_route);
    limits::outer(router, body).with_state(Api(Arc::new(parts)))
}

/// The `OpenAPI` document as JSON, indented.
pub fn document() -> String {
    in_json(&described(Duration::ZERO).into_openapi())
}

fn in_json(document: &utoipa::openapi::OpenApi) -> String {
    document
        .to_pretty_json()
        .unwrap_or_else(|error| unreachable!("the document is made of plain values: {error}"))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hythe",
        description = "Push-to-deploy. Every operation but the health checks wants a token: \
            `Authorization: Bearer hythe_...`. Whatever goes wrong is a Fault. Streams are JSON lines \
            (`application/x-ndjson`); empty lines in them keep the connection open.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(crate::types::ErrorBody)),
    modifiers(&BearerToken),
    security(("token" = []))
)]
struct Document;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// Routes and their description, registered together; a database that is away is waited for so long.
fn described(patience: Duration) -> OpenApiRouter<Api> {
    let quick = OpenApiRouter::new()
        .routes(handlers!(accounts::whoami))
        .routes(handlers!(accounts::list, accounts::create))
        .routes(handlers!(tools::list, tools::create))
        .routes(handlers!(tools::get))
        .routes(handlers!(tools::set))
        .routes(handlers!(maintainers::list))
        .routes(handlers!(maintainers::put, maintainers::remove))
        .routes(handlers!(keys::list, keys::add))
        .routes(handlers!(keys::remove))
        .routes(handlers!(keys::list_deploy, keys::add_deploy))
        .routes(handlers!(keys::remove_deploy))
        .routes(handlers!(tokens::list, tokens::create))
        .routes(handlers!(tokens::revoke))
        .routes(handlers!(builds::list))
        .routes(handlers!(builds::get))
        .routes(handlers!(builds::cancel))
        .routes(handlers!(releases::cancel))
        .routes(handlers!(builds::redeploy))
        .routes(handlers!(releases::list))
        .routes(handlers!(releases::instances))
        .routes(handlers!(jobs::list))
        .routes(handlers!(jobs::start))
        .routes(handlers!(jobs::end))
        .routes(handlers!(logs::ended))
        .routes(handlers!(config::list));
    let slow = OpenApiRouter::new()
        .routes(handlers!(tools::delete))
        .routes(handlers!(builds::log))
        .routes(handlers!(releases::rollback))
        .routes(handlers!(releases::restart))
        .routes(handlers!(releases::scale))
        .routes(handlers!(config::change))
        .routes(handlers!(run::run))
        .routes(handlers!(attach::attach))
        .routes(handlers!(logs::read));
    let health = OpenApiRouter::new().routes(handlers!(health::healthz)).routes(handlers!(health::readyz));
    let v1 = limits::timed(quick, patience).merge(slow);
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", v1).merge(health)
}
