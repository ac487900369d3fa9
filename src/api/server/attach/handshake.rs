//! The way from HTTP to a WebSocket (RFC 6455, 4.2).

use crate::server::Api;
use crate::server::error::ApiError;
use crate::server::runs::Runs;
use crate::types::{FRAME_MAX, RUN_PROTOCOL};
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// A connection that speaks WebSocket.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A request to speak WebSocket, of our own subprotocol.
pub(crate) struct Handshake {
    accept: String,
    upgrade: OnUpgrade,
}

impl FromRequestParts<Api> for Handshake {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        let headers = &parts.headers;
        let asks = names(headers, &CONNECTION, "upgrade")
            && names(headers, &UPGRADE, "websocket")
            && names(headers, &SEC_WEBSOCKET_VERSION, "13")
            && names(headers, &SEC_WEBSOCKET_PROTOCOL, RUN_PROTOCOL);
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asks).ok_or_else(no_websocket)?;
        let accept = derive_accept_key(key.as_bytes());
        // There is none over HTTP/2.
        let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or_else(no_websocket)?;
        Ok(Self { accept, upgrade })
    }
}

/// Whether a header's list has this word.
fn names(headers: &HeaderMap, header: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
}

fn no_websocket() -> ApiError {
    ApiError::new("no-websocket", "This address speaks WebSocket, over HTTP/1.1.")
        .why(format!("Version 13, subprotocol {RUN_PROTOCOL}."))
}

impl Handshake {
    /// Agrees, and does the work once the connection has changed.
    pub(crate) fn answer<W>(self, runs: &Runs, work: impl FnOnce(Socket) -> W + Send + 'static) -> Response
    where
        W: Future<Output = ()> + Send,
    {
        let upgrade = self.upgrade;
        runs.spawn(async move {
            match upgrade.await {
                Ok(upgraded) => {
                    let stream = TokioIo::new(upgraded);
                    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(bounds()));
                    work(socket.await).await;
                }
                Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(RUN_PROTOCOL));
        if let Ok(accept) = self.accept.parse() {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }
}

/// The longest message, cut into frames of WebSocket or not.
pub(crate) fn bounds() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(FRAME_MAX)).max_frame_size(Some(FRAME_MAX))
}
