//! Requests that leave HTTP, as a WebSocket does: once both sides agree, bytes go through as they are.

use crate::access::{Asked, Noted};
use crate::body::AnswerBody;
use crate::headers;
use crate::line::Line;
use crate::proxy::Client;
use crate::table::Pass;
use crate::upstream::Connection;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};

/// A client's wish to leave HTTP.
pub(crate) struct Upgrade {
    protocol: HeaderValue,
    /// Its half of the tunnel.
    pub(crate) client: OnUpgrade,
}

/// Takes the wish out of a request, where it has one: HTTP/1.1, properly asked, without a body.
pub(crate) fn asked(request: &mut Request<Incoming>) -> Option<Upgrade> {
    let fits = request.version() == Version::HTTP_11 && request.body().is_end_stream();
    let protocol = headers::upgrade_of(request.headers()).filter(|_| fits)?;
    Some(Upgrade { protocol, client: hyper::upgrade::on(request) })
}

impl Upgrade {
    /// Says the wish to the instance.
    pub(crate) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }
}

/// Tells the client that the instance agrees, and starts a task that carries the bytes.
pub(crate) fn carried(
    client: &Client,
    answer: Response<()>,
    connection: Connection,
    theirs: OnUpgrade,
    pass: Pass,
    asked: Asked,
) -> Response<AnswerBody> {
    let (mut head, ()) = answer.into_parts();
    let protocol = head.headers.get(UPGRADE).cloned();
    headers::clean_answer(&mut head.headers, asked.request_id.clone());
    head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    head.headers.extend(protocol.map(|protocol| (UPGRADE, protocol)));
    let noted = asked.noted(StatusCode::SWITCHING_PROTOCOLS.as_u16(), Some(pass.0.clone()));
    let ends = Ends { client: theirs, instance: connection, line: client.line.clone() };
    let tunnel = tunnel(ends, client.shared.parts.settings.tunnel_idle, pass, noted);
    let stop = client.shared.end.clone();
    client.shared.tasks.spawn(async move { stop.run_until_cancelled(tunnel).await });
    Response::from_parts(head, AnswerBody::Text(None))
}

/// What a tunnel joins.
struct Ends {
    client: OnUpgrade,
    instance: Connection,
    /// The client's connection, which keeps its place as long as the tunnel lives.
    line: Arc<Line>,
}

async fn tunnel(ends: Ends, idle: Duration, pass: Pass, mut noted: Noted) {
    match ends.client.await {
        Ok(client) => {
            let before = ends.line.written();
            tokio::select! {
                () = carry(TokioIo::new(client), ends.instance) => {}
                () = ends.line.silence(idle) => noted.error = Some("neither side said anything for too long"),
            }
            noted.bytes = ends.line.written() - before;
            noted.complete = true;
        }
        Err(error) => {
            tracing::debug!(%error, "a connection was not upgraded");
            noted.error = Some("the change of protocol failed");
        }
    }
    drop(pass);
}

/// Carries bytes both ways until both sides have ended or one has failed.
async fn carry(mut client: impl AsyncRead + AsyncWrite + Unpin, instance: Connection) {
    let (mut instance, early) = instance.into_stream();
    if client.write_all(&early).await.is_ok() && client.flush().await.is_ok() {
        let _ = copy_bidirectional(&mut client, &mut instance).await;
    }
}
