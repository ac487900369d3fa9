//! Requests that leave HTTP, as a WebSocket does: once both sides agree, bytes go through as they are.

use crate::access::{Asked, Noted};
use crate::body::{AnswerBody, RequestBody};
use crate::headers;
use crate::page::Page;
use crate::proxy::{Client, Passed, admitted};
use crate::table::{Pass, Target};
use crate::upstream;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::time::timeout;

/// A client's wish to leave HTTP.
pub(crate) struct Upgrade {
    protocol: HeaderValue,
    client: OnUpgrade,
}

/// Takes the wish out of a request, where it has one: HTTP/1.1, properly asked, without a body.
pub(crate) fn asked(request: &mut Request<Incoming>) -> Option<Upgrade> {
    let fits = request.version() == Version::HTTP_11 && request.body().is_end_stream();
    let protocol = headers::upgrade_of(request.headers()).filter(|_| fits)?;
    Some(Upgrade { protocol, client: hyper::upgrade::on(request) })
}

/// Passes the wish on, and the instance's answer back.
pub(crate) async fn exchange(
    client: &Client,
    mut target: Arc<Target>,
    mut request: Request<RequestBody>,
    upgrade: Upgrade,
) -> Result<Passed, Page> {
    let parts = &client.shared.parts;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, upgrade.protocol);
    let pass = admitted(client, &mut target, &[]).await?;
    let stream = parts.dial.dial(&pass.0.id, pass.0.port).await.map_err(|error| {
        tracing::info!(instance = %pass.0.id, %error, "an instance accepts no connection");
        Page::BadGateway
    })?;
    let answer = upstream::send_upgrade(stream, parts.settings.stall_timeout, request);
    let answer = timeout(parts.settings.answer_timeout, answer).await.map_err(|_| Page::TooSlow)?;
    let answer = answer.map_err(|_| Page::BadGateway)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Passed::Answer(answer, None, pass));
    }
    Ok(Passed::Tunnel(answer, upgrade.client, pass))
}

/// Tells the client that the instance agrees, and starts a task that carries the bytes.
pub(crate) fn carried(
    client: &Client,
    mut answer: Response<Incoming>,
    theirs: OnUpgrade,
    pass: Pass,
    asked: Asked,
) -> Response<AnswerBody> {
    let instance = hyper::upgrade::on(&mut answer);
    let back = agreed(&answer, asked.request_id.clone());
    let noted = asked.noted(StatusCode::SWITCHING_PROTOCOLS.as_u16(), Some(pass.0.clone()));
    let tunnel = tunnel(theirs, instance, pass, noted);
    let stop = client.shared.end.clone();
    client.shared.tasks.spawn(async move { stop.run_until_cancelled(tunnel).await });
    back
}

fn agreed(answer: &Response<Incoming>, request_id: HeaderValue) -> Response<AnswerBody> {
    let mut back = Response::new(AnswerBody::Text(None));
    *back.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let mut headers = answer.headers().clone();
    let protocol = headers.get(UPGRADE).cloned();
    headers::clean_answer(&mut headers, request_id);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.extend(protocol.map(|protocol| (UPGRADE, protocol)));
    *back.headers_mut() = headers;
    back
}

async fn tunnel(client: OnUpgrade, instance: OnUpgrade, pass: Pass, mut noted: Noted) {
    match tokio::try_join!(client, instance) {
        Ok((client, instance)) => {
            let (mut client, mut instance) = (TokioIo::new(client), TokioIo::new(instance));
            if let Ok((_, bytes)) = copy_bidirectional(&mut client, &mut instance).await {
                noted.bytes = bytes;
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
