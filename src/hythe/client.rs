//! The server as the verbs see it: paths in, JSON out, faults where it refuses.
//!
//! [`Client::call`] is for answers that come at once, [`Client::lines`] for those that come line by line.

use crate::failure::{Code, Failure};
use crate::settings::{Settings, is_loopback};
use crate::stream::Lines;
use hythe_model::Fault;
use reqwest::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use reqwest::{Certificate, ClientBuilder, Method, Response, StatusCode, Upgraded, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::error::Error;
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer that comes at once may take.
const ANSWER: Duration = Duration::from_mins(1);
/// How long a stream may be silent; the server writes an empty line every 15 s.
const SILENCE: Duration = Duration::from_mins(1);

/// A server and a token. Opens connections as they are needed.
pub(crate) struct Client {
    http: reqwest::Client,
    /// The same, for what leaves HTTP: that is a matter of HTTP/1.1.
    http1: reqwest::Client,
    url: Url,
    token: String,
}

/// What to ask.
pub(crate) struct Request<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl<'a> Request<'a> {
    /// A request for `/api/v1` and these segments, which are escaped as needed.
    pub(crate) fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self { method, path, query: Vec::new(), body: None }
    }

    /// Adds a parameter where there is a value.
    #[must_use]
    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Sets the body.
    #[must_use]
    pub(crate) fn body(mut self, body: &impl Serialize) -> Self {
        self.body = serde_json::to_value(body).ok();
        self
    }
}

/// A GET.
pub(crate) fn get<'a>(path: &'a [&'a str]) -> Request<'a> {
    Request::new(Method::GET, path)
}

/// A POST.
pub(crate) fn post<'a>(path: &'a [&'a str]) -> Request<'a> {
    Request::new(Method::POST, path)
}

/// A PUT.
pub(crate) fn put<'a>(path: &'a [&'a str]) -> Request<'a> {
    Request::new(Method::PUT, path)
}

/// A PATCH.
pub(crate) fn patch<'a>(path: &'a [&'a str]) -> Request<'a> {
    Request::new(Method::PATCH, path)
}

/// A DELETE.
pub(crate) fn delete<'a>(path: &'a [&'a str]) -> Request<'a> {
    Request::new(Method::DELETE, path)
}

impl Client {
    /// A client for this server.
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        let build = |builder: ClientBuilder| builder.build().map_err(|error| bad_ca(&error));
        let http = build(Self::builder(&settings)?)?;
        let http1 = build(Self::builder(&settings)?.http1_only())?;
        Ok(Self { http, http1, url: settings.url, token: settings.token })
    }

    fn builder(settings: &Settings) -> Result<ClientBuilder, Failure> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("hythe/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // A redirect would carry the token to a place that nobody chose.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&settings.url) {
            // The machine's proxy is for other machines: it would see the token and reach a loopback of its own.
            builder = builder.no_proxy();
        }
        if let Some(pem) = &settings.ca {
            let bundle = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|error| bad_ca(&error))?;
            builder = builder.tls_certs_only(bundle);
        }
        Ok(builder)
    }

    /// Asks, and reads the whole answer; `null` where there is none.
    pub(crate) async fn call(&self, request: Request<'_>) -> Result<Value, Failure> {
        let response = self.send(request, Some(ANSWER)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| unexpected(&error))
    }

    /// Asks, and reads the answer line by line.
    pub(crate) async fn lines(&self, request: Request<'_>) -> Result<Lines, Failure> {
        Ok(Lines::new(self.send(request, None).await?))
    }

    /// Asks to speak WebSocket of this subprotocol (RFC 6455, 4.1), and gives the connection out of hand.
    pub(crate) async fn upgrade(&self, path: &[&str], protocol: &str) -> Result<Upgraded, Failure> {
        let key = generate_key();
        let accepted = derive_accept_key(key.as_bytes());
        let asked = self.http1.get(self.address(&get(path))).bearer_auth(&self.token);
        let asked = asked.header(CONNECTION, "Upgrade").header(UPGRADE, "websocket");
        let asked = asked.header(SEC_WEBSOCKET_VERSION, "13").header(SEC_WEBSOCKET_KEY, key);
        let answer = asked.header(SEC_WEBSOCKET_PROTOCOL, protocol).timeout(ANSWER).send();
        let answer = answer.await.map_err(|error| self.unreachable(&error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(answer).await);
        }
        if answer.headers().get(SEC_WEBSOCKET_ACCEPT).is_none_or(|given| given != accepted.as_str()) {
            return Err(Failure::local(
                "unexpected-answer",
                "The server's answer belongs to another question.",
            )
            .next("A proxy in between may keep answers that it must not."));
        }
        answer.upgrade().await.map_err(|error| self.unreachable(&error))
    }

    async fn send(&self, request: Request<'_>, within: Option<Duration>) -> Result<Response, Failure> {
        let url = self.address(&request);
        let mut builder = self.http.request(request.method, url).bearer_auth(&self.token);
        if let Some(body) = &request.body {
            builder = builder.json(body);
        }
        if let Some(within) = within {
            builder = builder.timeout(within);
        }
        let response = builder.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(refused(response).await) }
    }

    fn address(&self, request: &Request<'_>) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(request.path);
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        url
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let causes = causes(error);
        let certificate = causes.iter().any(|cause| cause.contains("certificate"));
        let mut fault = if certificate {
            Fault::new("client/certificate", format!("The certificate of {} is not trusted.", self.url)).next(
                "If the platform has a CA of its own, log in with it: hythe login URL --ca FILE --token -",
            )
        } else {
            Fault::new("client/unreachable", format!("{} cannot be reached.", self.url))
                .next("Is the address right, and the server running?")
        };
        // The outermost cause only repeats the URL, the innermost says why.
        fault.why = causes.last().cloned().into_iter().collect();
        Failure::Fault(Code::Unreachable, fault)
    }
}

/// Reads an answer's objects.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| unexpected(&error))
}

/// An answer that is not what this program knows.
pub(crate) fn unexpected(error: &dyn Error) -> Failure {
    Failure::local("unexpected-answer", "The server's answer cannot be read.")
        .why(error.to_string())
        .next("Is this program as new as the server? hythe whoami shows both versions.")
}

fn bad_ca(error: &reqwest::Error) -> Failure {
    let why = causes(error).pop().unwrap_or_default();
    Failure::local("ca", "The CA certificates saved at login cannot be used.").why(why)
}

/// An error and what caused it, outermost first.
pub(crate) fn causes(error: &reqwest::Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts
}

async fn refused(response: Response) -> Failure {
    let status = response.status();
    let code = match status {
        StatusCode::UNAUTHORIZED => Code::Login,
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Code::Unreachable
        }
        _ => Code::Failed,
    };
    let body = response.bytes().await.unwrap_or_default();
    let fault = serde_json::from_slice::<Fault>(&body).unwrap_or_else(|_| {
        Fault::new("client/unexpected-answer", format!("The server answered {status}."))
            .next("Is the address that of a Hythe platform? hythe whoami shows it.")
    });
    Failure::Fault(code, fault)
}
