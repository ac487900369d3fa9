//! A client of the OCI distribution API (spec 1.1), as far as images are sent, looked for and removed.
//!
//! Enter at [`Client::open`], then [`Client::session`] for what is done in one go in one repository. `auth` answers
//! challenges, Basic and Bearer; `blob` sends content, streamed; `manifest` is about what names it. A request is tried once: whoever
//! sends an image knows what may be tried again. Each ends, also where the other side stands still.
//!
//! `oci-client`, which the carrier speaks with, does not remove anything, asks a token server for one repository at a time, so that
//! nothing can be mounted from another one, and tells neither a status nor why a token was refused.

mod auth;
mod blob;
mod error;
mod manifest;

pub(crate) use blob::Begun;
pub(crate) use error::{Answer, ClientError};
pub(crate) use manifest::Tags;

use crate::{Login, Repository};
use reqwest::{Certificate, RequestBuilder, Response, StatusCode, Url};
use std::sync::RwLock;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request may take that carries no content.
const REQUEST: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const LONGEST: usize = 4 << 20;

/// How a registry is reached.
#[derive(Debug, Clone)]
pub(crate) struct ClientOptions {
    /// Host and port.
    pub(crate) host: String,
    /// Whether it speaks plain HTTP.
    pub(crate) plain: bool,
    /// Authorities that are trusted beside the machine's own, PEM.
    pub(crate) authorities: Option<Vec<u8>>,
}

/// A registry.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
}

/// What is done in one go, with the same rights.
pub(crate) struct Session<'a> {
    client: &'a Client,
    repository: Repository,
    login: Option<Login>,
    /// What a token is asked for.
    scopes: Vec<String>,
    /// What the registry was shown last.
    shown: RwLock<Option<auth::Shown>>,
}

/// A right in a repository, as a token's scope names it.
pub(crate) fn scope(repository: &Repository, actions: &str) -> String {
    format!("repository:{repository}:{actions}")
}

impl Client {
    /// A registry; nothing is asked of it yet.
    pub(crate) fn open(options: &ClientOptions) -> Result<Self, ClientError> {
        let unusable = |why: &dyn std::fmt::Display| ClientError::Unusable(why.to_string());
        let scheme = if options.plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{}/v2/", options.host)).map_err(|e| unusable(&e))?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .user_agent(concat!("hythe/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &options.authorities {
            let authorities = Certificate::from_pem_bundle(pem).map_err(|e| unusable(&error::chain(&e)))?;
            if authorities.is_empty() {
                return Err(unusable(&"there is no certificate in the bundle of authorities"));
            }
            http = http.tls_certs_merge(authorities);
        }
        let http = http.build().map_err(|e| unusable(&error::chain(&e)))?;
        Ok(Self { http, base })
    }

    /// Begins to do something in a repository; where tokens are needed, with these rights.
    pub(crate) fn session(
        &self,
        repository: Repository,
        login: Option<Login>,
        scopes: Vec<String>,
    ) -> Session<'_> {
        Session { client: self, repository, login, scopes, shown: RwLock::default() }
    }
}

impl Session<'_> {
    /// A URL below the repository, as in `blobs/sha256:...`.
    fn url(&self, rest: &str) -> Result<Url, ClientError> {
        let url = self.client.base.join(&format!("{}/{rest}", self.repository));
        url.map_err(|e| ClientError::Unusable(e.to_string()))
    }

    /// Sends a request without content, once more where the registry asks who this is.
    async fn ask(
        &self,
        request: impl Fn(&reqwest::Client) -> RequestBuilder + Send + Sync,
    ) -> Result<Response, ClientError> {
        let response = self.ask_with(self.shown(), &request).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match self.answer_challenge(&response).await? {
            Some(shown) => self.ask_with(Some(shown), &request).await,
            None => Ok(response),
        }
    }

    async fn ask_with(
        &self,
        shown: Option<auth::Shown>,
        request: &(impl Fn(&reqwest::Client) -> RequestBuilder + Send + Sync),
    ) -> Result<Response, ClientError> {
        let request = request(&self.client.http).timeout(REQUEST);
        let request = shown.into_iter().fold(request, |request, shown| shown.on(request));
        request.send().await.map_err(|e| ClientError::broken(&e))
    }

    fn shown(&self) -> Option<auth::Shown> {
        self.shown.read().ok()?.clone()
    }

    /// Whether what is shown to the registry may be shown to this place too.
    fn is_home(&self, url: &Url) -> bool {
        url.origin() == self.client.base.origin()
    }
}

/// The body of an answer, bounded in length and in time: an upload's answer has no other limit.
async fn body(what: &'static str, response: Response) -> Result<Vec<u8>, ClientError> {
    let read = tokio::time::timeout(REQUEST, whole(what, response)).await;
    read.unwrap_or_else(|_| Err(ClientError::Away("its answer stands still".to_owned())))
}

async fn whole(what: &'static str, mut response: Response) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|e| ClientError::broken(&e))? {
        if bytes.len() + piece.len() > LONGEST {
            return Err(ClientError::Odd { what, why: "its answer is too long".to_owned() });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The error that an answer is.
async fn refusal(what: &'static str, response: Response) -> ClientError {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = body(what, response).await.unwrap_or_default();
    ClientError::Refused(Answer::read(what, status, &headers, &text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream};
    use std::io;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_end_is_not_waited_for() {
        let begins = stream::iter([Ok::<_, io::Error>("too la")]);
        let body = reqwest::Body::wrap_stream(begins.chain(stream::pending()));
        let answer = axum::http::Response::builder().status(413).body(body).unwrap();
        let refused = tokio::time::timeout(2 * REQUEST, refusal("take a blob", answer.into())).await;
        let refused = refused.expect("it is given up");
        assert!(matches!(&refused, ClientError::Refused(answer) if answer.is_full()), "{refused}");
    }
}
