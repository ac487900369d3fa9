//! Requests that leave HTTP, as a WebSocket does: once both sides agree, bytes go through as they are.

use crate::access::{Asked, Noted};
use crate::body::AnswerBody;
use crate::headers;
use crate::proxy::Client;
use crate::table::Pass;
use crate::upstream::Connection;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional};

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
    let tunnel = tunnel(theirs, connection, pass, noted);
    let stop = client.shared.end.clone();
    client.shared.tasks.spawn(async move { stop.run_until_cancelled(tunnel).await });
    Response::from_parts(head, AnswerBody::Text(None))
}

async fn tunnel(client: OnUpgrade, connection: Connection, pass: Pass, mut noted: Noted) {
    let (mut instance, early) = connection.into_stream();
    match client.await {
        Ok(client) => {
            let mut client = TokioIo::new(client);
            noted.bytes = early.len() as u64;
            if client.write_all(&early).await.is_ok()
                && client.flush().await.is_ok()
                && let Ok((_, bytes)) = copy_bidirectional(&mut client, &mut instance).await
            {
                noted.bytes += bytes;
            }
            noted.complete = true;
        }
        Err(error) => {
            tracing::debug!(%error, "a connection was not upgraded");
            noted.error = Some("the change of protocol failed");
        }
    }
    drop(pass);
}
