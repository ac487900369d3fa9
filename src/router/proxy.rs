//! One request from its head to the head of its answer.
//!
//! Enter at [`answer`]. A request is counted in an instance before anything is sent; where sending fails, it goes
//! again only if nothing of it was sent or asking twice does no harm.

use crate::access::Asked;
use crate::body::{self, AnswerBody, Cut, InstanceBody, Progress, RequestBody};
use crate::clients::Turn;
use crate::headers::{self, Forwarding};
use crate::host::{self, Addressee};
use crate::line::Line;
use crate::page::Page;
use crate::serve::{ClientAddr, Shared};
use crate::table::{Pass, Pick, Target, View};
use crate::upgrade;
use crate::upstream::{Connection, Remains, Unanswered};
use http::header::{EXPECT, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, request};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hythe_model::Route;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

/// How long the route is waited for where an instance has just gone.
const ROUTE_WAIT: Duration = Duration::from_millis(500);
/// How long a connection may take.
const DIAL_PATIENCE: Duration = Duration::from_secs(5);
/// Instances that are tried for one request.
const TRIES: usize = 3;

/// One client's connection.
pub(crate) struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) view: View,
    pub(crate) peer: SocketAddr,
    pub(crate) forwarding: Forwarding,
    pub(crate) line: Arc<Line>,
}

/// Answers one request.
pub(crate) async fn answer(client: Arc<Client>, request: Request<Incoming>) -> Response<AnswerBody> {
    if client.shared.names.is_platform_only() {
        return ask_platform(&client, request).await;
    }
    let Some(host) = host::of_request(request.uri(), request.headers()) else {
        return refused(Page::BadHost, request);
    };
    match client.shared.names.addressee(host) {
        Addressee::Platform => ask_platform(&client, request).await,
        Addressee::Nobody => refused(Page::UnknownHost, request),
        Addressee::Tool(label) => match client.view.ask(&label) {
            Some((target, turn)) => ask_tool(&client, target, turn, request).await,
            None => refused(Page::UnknownHost, request),
        },
    }
}

/// The router's answer to a request that is for no tool.
fn refused(page: Page, request: Request<Incoming>) -> Response<AnswerBody> {
    let host = host::of_request(request.uri(), request.headers()).unwrap_or_default();
    let answer = page.answer(request.headers(), host, "");
    body::let_go(request);
    answer
}

fn host_value(request: &Request<Incoming>) -> HeaderValue {
    let of_target = || HeaderValue::from_str(request.uri().authority()?.as_str()).ok();
    let given = || request.headers().get(HOST).cloned();
    of_target().or_else(given).unwrap_or(HeaderValue::from_static(""))
}

async fn ask_platform(client: &Client, mut request: Request<Incoming>) -> Response<AnswerBody> {
    let Some(fallback) = client.shared.parts.fallback.clone() else {
        return refused(Page::UnknownHost, request);
    };
    let host = host_value(&request);
    let id = headers::request_id(request.headers());
    client.forwarding.introduce(request.headers_mut(), &host, id.clone());
    request.extensions_mut().insert(ClientAddr(client.peer));
    match fallback.0.oneshot(request).await {
        Ok(mut answer) => {
            answer.headers_mut().insert(headers::X_REQUEST_ID, id);
            answer.map(AnswerBody::Fallback)
        }
        Err(never) => match never {},
    }
}

async fn ask_tool(
    client: &Arc<Client>,
    target: Arc<Target>,
    turn: Option<Turn>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let request_id = headers::request_id(request.headers());
    let asked = Asked {
        log: client.shared.parts.access.clone(),
        target: target.clone(),
        client: client.peer.ip(),
        method: request.method().clone(),
        uri: request.uri().clone(),
        request_id: request_id.clone(),
        started: Instant::now(),
        turn,
    };
    let accept = request.headers().get(http::header::ACCEPT).cloned();
    let host = host_value(&request);
    match forward(client, target, request, &asked, &host).await {
        Ok(Passed { answer, connection, remains, pass, upgrade }) => match upgrade {
            Some(upgrade) => upgrade::carried(client, answer, connection, upgrade, pass, asked),
            None => passed_back(answer, connection, remains, pass, asked).await,
        },
        Err(page) => told(page, &host, accept, asked),
    }
}

/// The router's own answer.
fn told(page: Page, host: &HeaderValue, accept: Option<HeaderValue>, asked: Asked) -> Response<AnswerBody> {
    let request: http::HeaderMap = accept.map(|accept| (http::header::ACCEPT, accept)).into_iter().collect();
    let mut answer = page.answer(&request, host.to_str().unwrap_or_default(), asked.target.tool.as_str());
    answer.headers_mut().insert(headers::X_REQUEST_ID, asked.request_id.clone());
    let mut noted = asked.noted(page.status().as_u16(), None);
    (noted.error, noted.complete) = (Some(page.id()), true);
    answer
}

/// What came of passing a request on.
struct Passed {
    /// The head of the instance's answer.
    answer: Response<()>,
    /// Over which its body comes.
    connection: Connection,
    /// How much of that.
    remains: Remains,
    /// The request's place in the instance's count.
    pass: Pass,
    /// The client's half of a tunnel, where the instance agrees to one.
    upgrade: Option<OnUpgrade>,
}

async fn forward(
    client: &Arc<Client>,
    target: Arc<Target>,
    mut request: Request<Incoming>,
    asked: &Asked,
    host: &HeaderValue,
) -> Result<Passed, Page> {
    let upgrade = upgrade::asked(&mut request);
    let (mut head, body, progress) = outgoing(client, request, host, asked.request_id.clone());
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Page::Method);
    }
    let most = client.shared.parts.settings.body_bytes;
    if most.is_some_and(|most| body.size_hint().lower() > most) {
        return Err(Page::TooLong);
    }
    if asked.turn.is_none() {
        return Err(Page::TooMany);
    }
    let target = settled(client, target).await?;
    if let Some(upgrade) = &upgrade {
        upgrade.ask(&mut head.headers);
    }
    let passed = exchange(client, target, &head, body, &progress, asked.started).await?;
    if passed.answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(passed);
    }
    let upgrade = upgrade.ok_or(Page::BadGateway)?;
    Ok(Passed { upgrade: Some(upgrade.client), ..passed })
}

/// The request as the instance gets it, head and body, and what the body says of itself.
fn outgoing(
    client: &Client,
    request: Request<Incoming>,
    host: &HeaderValue,
    request_id: HeaderValue,
) -> (request::Parts, RequestBody, Progress) {
    let settings = &client.shared.parts.settings;
    let (mut head, body) = request.into_parts();
    let withheld = head.headers.contains_key(EXPECT);
    client.forwarding.apply(&mut head.headers, host, request_id);
    head.uri = headers::origin_form(head.uri);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    if body.is_end_stream() {
        return (head, RequestBody::Empty, Progress::default());
    }
    let progress = Progress::new();
    let (most, patience) = (settings.body_bytes, settings.stall_timeout);
    let body = RequestBody::client(body, withheld, most, patience, progress.clone());
    (head, body, progress)
}

/// The instance's answer as the client gets it.
async fn passed_back(
    answer: Response<()>,
    connection: Connection,
    remains: Remains,
    pass: Pass,
    asked: Asked,
) -> Response<AnswerBody> {
    let (mut head, ()) = answer.into_parts();
    headers::clean_answer(&mut head.headers, asked.request_id.clone());
    head.version = Version::HTTP_11;
    let noted = asked.noted(head.status.as_u16(), Some(pass.0.clone()));
    let mut body = Box::new(InstanceBody::new(connection, remains, pass, noted));
    if body.is_ended() {
        poll_fn(|cx| {
            body.finish(cx);
            Poll::Ready(())
        })
        .await;
    }
    Response::from_parts(head, AnswerBody::Instance(body))
}

/// The target once it has instances; waits a while for one that is starting.
async fn settled(client: &Client, mut target: Arc<Target>) -> Result<Arc<Target>, Page> {
    let deadline = Instant::now() + client.shared.parts.settings.starting_wait;
    loop {
        match &*target.route {
            Route::Live { .. } if target.instances() > 0 => return Ok(target),
            Route::Live { .. } | Route::Empty => return Err(Page::Empty),
            Route::Crashed { .. } => return Err(Page::Crashed),
            Route::Starting => {
                let changed = client.view.changed(&target);
                tokio::time::timeout_at(deadline, changed).await.map_err(|_| Page::Starting)?;
                target = renewed(client, &target)?;
            }
        }
    }
}

fn renewed(client: &Client, target: &Target) -> Result<Arc<Target>, Page> {
    client.view.target(target.tool.as_str()).ok_or(Page::UnknownHost)
}

/// Counts the request in an instance, by the newest route; updates `target` where there is a newer one.
async fn admitted(
    client: &Client,
    target: &mut Arc<Target>,
    tried: &[hythe_model::InstanceId],
) -> Result<Pass, Page> {
    loop {
        match target.pick(client.shared.parts.settings.requests_per_instance, tried) {
            Pick::Instance(pass) => return Ok(pass),
            Pick::Overloaded => return Err(Page::Overloaded),
            Pick::Leaving => {
                let changed = client.view.changed(target);
                timeout(ROUTE_WAIT, changed).await.map_err(|_| Page::BadGateway)?;
                *target = settled(client, renewed(client, target)?).await?;
            }
        }
    }
}

/// Whether asking twice does no more than asking once (RFC 9110, 9.2.2) and the request can be made again.
fn is_repeatable(head: &request::Parts, body: &RequestBody) -> bool {
    let idempotent =
        matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
    idempotent && matches!(body, RequestBody::Empty)
}

async fn exchange(
    client: &Client,
    mut target: Arc<Target>,
    head: &request::Parts,
    mut body: RequestBody,
    progress: &Progress,
    mut now: Instant,
) -> Result<Passed, Page> {
    let patience = client.shared.parts.settings.answer_timeout;
    let repeatable = is_repeatable(head, &body);
    let mut tried = Vec::new();
    let mut pooled_too = true;
    while tried.len() < TRIES {
        let pass = admitted(client, &mut target, &tried).await?;
        let checkout = |cx: &mut Context<'_>| pass.0.checkout(repeatable, now, cx).filter(|_| pooled_too);
        let pooled = poll_fn(|cx| Poll::Ready(checkout(cx))).await;
        let was_pooled = pooled.is_some();
        let opened = match pooled {
            Some(connection) => Some(connection),
            None => dial(client, &pass).await,
        };
        let Some(mut connection) = opened else {
            pass.0.gauge.answer(false);
            tried.push(pass.0.id.clone());
            drop(pass);
            if target.instances() == 1 {
                let _ = timeout(ROUTE_WAIT, client.view.changed(&target)).await;
                target = settled(client, renewed(client, &target)?).await?;
            }
            continue;
        };
        match connection.send(head, body, now, patience, progress).await {
            Ok((answer, remains)) => {
                progress.answered();
                pass.0.gauge.answer(!answer.status().is_server_error());
                return Ok(Passed { answer, connection, remains, pass, upgrade: None });
            }
            Err(Unanswered::TooSlow) => {
                pass.0.gauge.answer(false);
                return Err(Page::TooSlow);
            }
            Err(Unanswered::Broken { error, body: whole, unsent }) => {
                cut_short(progress)?;
                tracing::debug!(instance = %pass.0.id, %error, was_pooled, unsent, "no answer");
                let again = whole.filter(|_| was_pooled && (unsent || repeatable));
                if again.is_none() {
                    pass.0.gauge.answer(false);
                }
                body = again.ok_or(Page::BadGateway)?;
            }
        }
        (pooled_too, now) = (false, Instant::now());
    }
    Err(Page::BadGateway)
}

/// Where the request's own body broke the exchange, the client is told so and not that the instance failed.
fn cut_short(progress: &Progress) -> Result<(), Page> {
    match progress.why_cut() {
        Some(Cut::TooLong) => Err(Page::TooLong),
        Some(Cut::TooSlow) => Err(Page::SlowBody),
        Some(Cut::Stalled | Cut::Broken) => Err(Page::Stalled),
        None => Ok(()),
    }
}

/// A new connection to the instance.
async fn dial(client: &Client, pass: &Pass) -> Option<Connection> {
    let parts = &client.shared.parts;
    let dialled = timeout(DIAL_PATIENCE, parts.dial.dial(&pass.0.id, pass.0.port)).await;
    match dialled.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(stream) => Some(Connection::new(stream, parts.settings.stall_timeout)),
        Err(error) => {
            tracing::info!(instance = %pass.0.id, %error, "an instance accepts no connection");
            None
        }
    }
}
