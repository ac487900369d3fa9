//! The OCI distribution API (spec 1.1) over a [`ContentStore`].
//!
//! Enter at [`routes`]. Content is streamed both ways and never held whole; documents and token requests are bounded.
//! What a caller may do is decided by [`RegistryAuth`] when a token is issued; a request then shows its token. Whoever
//! may not see a repository is told the same whether there is one or not.

use crate::{ContentStore, Repository};
use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::any;
use http::{HeaderValue, Method, StatusCode};
use hythe_model::Digest;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

mod blob;
mod error;
mod manifest;
mod path;
mod token;
mod upload;

use error::{ApiError, Code};
use path::Endpoint;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Nobody in particular.
    Anonymous,
    /// A user, by the name that [`RegistryAuth::verify`] gave.
    User(String),
}

/// Why credentials prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unproven {
    /// They are wrong.
    Wrong,
    /// They were not looked at: too many wrong ones came from the same address.
    TooMany {
        /// How long until the next ones are looked at.
        wait: Duration,
    },
}

/// What is asked for on a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegistryAction {
    /// Reading.
    Pull,
    /// Writing.
    Push,
    /// Removing.
    Delete,
}

impl RegistryAction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// Its word in a token's scope.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// Who may do what in the registry.
#[async_trait]
pub trait RegistryAuth: Send + Sync + 'static {
    /// The user that these credentials prove, shown from this address.
    async fn verify(&self, user: &str, secret: &str, from: Option<IpAddr>) -> Result<Subject, Unproven>;
    /// Whether the subject may do this with the repository.
    async fn allowed(&self, subject: &Subject, repository: &Repository, action: RegistryAction) -> bool;
    /// Whether somebody counts on this manifest, so that nobody may remove it.
    async fn in_use(&self, _repository: &Repository, _digest: &Digest) -> bool {
        false
    }
}

/// Settings of the API; the default is good for one server.
#[derive(Clone)]
pub struct RegistryOptions {
    /// Key that signs tokens; random where none is given, so that a restart invalidates them.
    pub token_key: Option<[u8; 32]>,
    /// How long a token is good for.
    pub token_life: Duration,
    /// Address of this server as clients see it, as in `https://registry.example.org`; from each request where absent.
    pub public_url: Option<String>,
    /// Most bytes of a blob.
    pub max_blob_bytes: u64,
    /// Most bytes of all blobs of a tool.
    pub max_tool_bytes: u64,
    /// Most uploads at once.
    pub max_uploads: usize,
    /// An upload that receives nothing for this long is dropped.
    pub upload_idle: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            token_key: None,
            token_life: Duration::from_mins(5),
            public_url: None,
            max_blob_bytes: 16 << 30,
            max_tool_bytes: u64::MAX,
            max_uploads: 256,
            upload_idle: Duration::from_hours(1),
        }
    }
}

/// Without the key.
impl std::fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryOptions").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

/// The API under `/v2/`, token endpoint included, to be served behind the router: `X-Forwarded-For` is its word on who
/// asks.
pub fn routes(store: ContentStore, auth: Arc<dyn RegistryAuth>, options: RegistryOptions) -> Router {
    let tokens = token::Tokens::new(&options);
    let api = Arc::new(Api { store, auth, tokens, uploads: upload::Uploads::default(), options });
    Router::new()
        .route("/v2", any(version))
        .route("/v2/", any(version))
        .route("/v2/token", any(token::issue))
        .route("/v2/{*path}", any(dispatch))
        .layer(axum::middleware::map_response(name_the_api))
        .with_state(api)
}

/// What every handler needs.
struct Api {
    store: ContentStore,
    auth: Arc<dyn RegistryAuth>,
    tokens: token::Tokens,
    uploads: upload::Uploads,
    options: RegistryOptions,
}

/// Docker's clients look for this header before they speak.
async fn name_the_api(mut response: Response) -> Response {
    let version = HeaderValue::from_static("registry/2.0");
    response.headers_mut().insert("docker-distribution-api-version", version);
    response
}

/// `GET /v2/`: says that the API is here, to whoever has a token.
async fn version(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(ApiError::method());
    }
    api.tokens.check(&api, request.headers(), &[])?;
    Ok(axum::Json(serde_json::json!({})).into_response_with(StatusCode::OK))
}

/// Everything in a repository.
async fn dispatch(
    State(api): State<Arc<Api>>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (repository, endpoint) = path::parse(&path)?;
    let action = match *request.method() {
        Method::GET | Method::HEAD if !matches!(endpoint, Endpoint::Upload(_)) => RegistryAction::Pull,
        Method::DELETE if !matches!(endpoint, Endpoint::Upload(_)) => RegistryAction::Delete,
        _ => RegistryAction::Push,
    };
    api.tokens.check(&api, request.headers(), &[(&repository, action)])?;
    let head = request.method() == Method::HEAD;
    match (endpoint, request.method().as_str()) {
        (Endpoint::Blob(digest), "GET" | "HEAD") => {
            blob::get(&api, &repository, digest, request.headers(), head).await
        }
        (Endpoint::Blob(digest), "DELETE") => blob::delete(&api, repository, digest).await,
        (Endpoint::Uploads, "POST") => upload::start(&api, repository, request).await,
        (Endpoint::Upload(id), "GET") => upload::status(&api, &repository, &id).await,
        (Endpoint::Upload(id), "PATCH") => upload::patch(&api, &repository, &id, request).await,
        (Endpoint::Upload(id), "PUT") => upload::put(&api, &repository, &id, request).await,
        (Endpoint::Upload(id), "DELETE") => upload::cancel(&api, &repository, &id),
        (Endpoint::Manifest(reference), "GET" | "HEAD") => {
            manifest::get(&api, repository, reference, head).await
        }
        (Endpoint::Manifest(reference), "PUT") => manifest::put(&api, repository, reference, request).await,
        (Endpoint::Manifest(reference), "DELETE") => manifest::delete(&api, repository, reference).await,
        (Endpoint::Tags, "GET") => manifest::tags(&api, repository, request.uri().query()).await,
        (Endpoint::Referrers(digest), "GET") => {
            manifest::referrers(&api, repository, digest, request.uri().query()).await
        }
        _ => Err(ApiError::method()),
    }
}

/// Runs work on files away from the threads that serve.
async fn blocking<T, F>(work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, crate::RegistryError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(ApiError::from),
        Err(e) => Err(ApiError::internal(&e)),
    }
}

/// A parameter of a query, decoded.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let decoded = |part: &str| percent_decode(&part.replace('+', " "));
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key)? == name).then(|| decoded(value))?
    })
}

fn percent_decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let hex = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// A response in one expression.
trait IntoResponseWith {
    fn into_response_with(self, status: StatusCode) -> Response;
}

impl<T: axum::response::IntoResponse> IntoResponseWith for T {
    fn into_response_with(self, status: StatusCode) -> Response {
        let mut response = self.into_response();
        *response.status_mut() = status;
        response
    }
}

/// A response of headers alone.
fn headers<const N: usize>(
    status: StatusCode,
    pairs: [(&'static str, String); N],
) -> Result<Response, ApiError> {
    let mut response = ().into_response_with(status);
    for (name, value) in pairs {
        let value = HeaderValue::from_str(&value).map_err(|e| ApiError::internal(&e))?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// A digest that a client sent.
fn digest(text: &str) -> Result<Digest, ApiError> {
    text.parse()
        .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, Code::DigestInvalid, "this is not a digest"))
}

#[cfg(test)]
pub(crate) mod tests;
