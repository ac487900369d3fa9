//! The accept loop and a connection's life.
//!
//! Enter at [`serve()`]. A connection is counted, secured where the listener has TLS, recognised as HTTP/1.1 or HTTP/2,
//! and served until it ends, stands still or the router stops.

use crate::accept::{self, Failure};
use crate::body::AnswerBody;
use crate::guard::Admission;
use crate::headers::Forwarding;
use crate::host::Names;
use crate::line::{Counted, Line};
use crate::proxy::{self, Client};
use crate::stalled::Stalled;
use crate::table::Tables;
use crate::{BoxError, Dial, Fallback, InFlight, NoAccessLog, RouterParts, RouterSettings};
use async_trait::async_trait;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hythe_model::{InstanceId, RouteTable};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long accepting pauses where descriptors or memory are short.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);
/// Most requests at once over one connection of HTTP/2.
const MOST_STREAMS: u32 = 200;
/// How long a connection that says nothing, or not yet enough, is left open once the router stops.
const LAST_CALL: Duration = Duration::from_millis(250);

/// The peer of a request's connection; an extension of requests to the fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub SocketAddr);

/// Why a router stopped.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The listener cannot be used any more.
    #[error("the router cannot accept connections: {0}")]
    Accept(io::Error),
}

/// Finds instances for requests. Cheap to clone; several listeners may share one.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) parts: RouterParts,
    pub(crate) names: Names,
    pub(crate) tables: Arc<Tables>,
    pub(crate) admission: Admission,
    /// Tunnels.
    pub(crate) tasks: TaskTracker,
    /// Ends them at once.
    pub(crate) end: CancellationToken,
}

impl Router {
    /// A router of these parts. Runs in the runtime that calls it.
    pub fn new(parts: RouterParts) -> Self {
        let names = Names::new(&parts.settings.domain, &parts.settings.platform_hosts);
        Self::named(parts, names)
    }

    fn named(parts: RouterParts, names: Names) -> Self {
        let settings = &parts.settings;
        let tables = Arc::new(Tables::new(parts.routes.clone(), parts.in_flight.clone(), settings));
        let admission = Admission::new(settings.connections, settings.connections_per_client);
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let tending = (tables.clone(), end.clone());
        tokio::spawn(async move { tending.1.run_until_cancelled(tending.0.tend()).await });
        Self { shared: Arc::new(Shared { parts, names, tables, admission, tasks, end }) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Serves a listener until `shutdown` is cancelled; then answers what is under way and returns.
///
/// With `tls` every connection speaks TLS; its ALPN names should be `h2` and `http/1.1`. Without, plain HTTP/1.1 and
/// HTTP/2 with prior knowledge. The listener is closed at once on shutdown; duplicate its descriptor beforehand to keep
/// it open for a successor.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), RouterError> {
    let shared = router.shared;
    let tls = tls.map(TlsAcceptor::from);
    let (finish, mut own, mut shortages) = (Arc::<Finish>::default(), JoinSet::new(), 0_u64);
    if let Err(error) = accept::keep_alive(&listener, shared.parts.settings.stall_timeout) {
        tracing::warn!(%error, "clients that vanish will not be noticed");
    }
    let outcome = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = own.join_next() => continue,
            () = shutdown.cancelled() => break Ok(()),
        };
        match accepted.map_err(|error| (Failure::of(&error), error)) {
            Ok((stream, peer)) => {
                shortages = 0;
                own.spawn(connection(shared.clone(), tls.clone(), stream, peer, finish.clone()));
            }
            Err((Failure::OfOne, error)) => tracing::debug!(%error, "a connection was not accepted"),
            Err((Failure::Shortage, error)) => {
                shortages += 1;
                if shortages.is_power_of_two() {
                    tracing::warn!(%error, times = shortages, "connections are not accepted");
                }
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
            Err((Failure::OfListener, error)) => break Err(RouterError::Accept(error)),
        }
    };
    drop(listener);
    finish.begin();
    let all = async { while own.join_next().await.is_some() {} };
    if tokio::time::timeout(shared.parts.settings.shutdown_grace, all).await.is_err() {
        tracing::info!(connections = own.len(), "connections were cut at shutdown");
        own.shutdown().await;
    }
    outcome
}

/// Tells a listener's connections to finish. The flag is there because every poll asks it; the token wakes who sleeps.
#[derive(Debug, Default)]
struct Finish {
    begun: AtomicBool,
    wake: CancellationToken,
}

impl Finish {
    fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.wake.cancel();
    }

    /// What comes of a connection's first bytes, unless they take longer than `patience` or the router stops meanwhile.
    async fn opened<T>(
        &self,
        patience: Duration,
        opening: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let stopped = async {
            self.wake.cancelled().await;
            tokio::time::sleep(LAST_CALL).await;
        };
        tokio::select! {
            biased;
            opened = tokio::time::timeout(patience, opening) => opened?,
            () = stopped => Err(io::Error::new(io::ErrorKind::Interrupted, "the router stops")),
        }
    }
}

/// Serves the platform's own service on a listener of its own, with the same care: whatever host is named, no tool
/// answers there. Returns as [`serve()`] does; a stream without end is cut after the default grace, so end yours first.
pub async fn serve_platform<S, B>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    service: S,
    shutdown: CancellationToken,
) -> Result<(), RouterError>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (_no_routes, routes) = tokio::sync::watch::channel(RouteTable::default());
    let parts = RouterParts {
        routes,
        dial: Arc::new(Nowhere),
        in_flight: InFlight::new(),
        access: Arc::new(NoAccessLog),
        fallback: Some(Fallback::new(service)),
        settings: RouterSettings::default(),
    };
    serve(listener, tls, Router::named(parts, Names::platform_only()), shutdown).await
}

/// There are no instances behind the platform's own service.
struct Nowhere;

#[async_trait]
impl Dial for Nowhere {
    async fn dial(&self, instance: &InstanceId, _: u16) -> io::Result<TcpStream> {
        Err(io::Error::new(io::ErrorKind::NotConnected, format!("{instance} does not run")))
    }
}

async fn connection(
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    stream: TcpStream,
    peer: SocketAddr,
    finish: Arc<Finish>,
) {
    let Some(place) = shared.admission.enter(peer.ip()) else {
        tracing::debug!(client = %peer.ip(), "a connection too many");
        if tls.is_none() {
            crate::guard::turn_away(&stream);
        }
        return;
    };
    let _ = stream.set_nodelay(true);
    let view = shared.tables.view(peer.ip());
    let forwarding = Forwarding::new(peer.ip().to_canonical(), tls.is_some());
    let line = Arc::new(Line::new(place));
    let client = Arc::new(Client { shared, view, peer, forwarding, line });
    let ended = match tls {
        Some(tls) => secured(client, tls, stream, &finish).await,
        None => plain(client, stream, &finish).await,
    };
    if let Err(error) = ended {
        tracing::debug!(client = %peer.ip(), %error, "a connection did not begin");
    }
}

async fn plain(client: Arc<Client>, stream: TcpStream, finish: &Finish) -> io::Result<()> {
    let settings = &client.shared.parts.settings;
    let (patience, stall) = (settings.header_timeout, settings.stall_timeout);
    let is_h2 = finish.opened(patience, crate::guard::speaks_h2(&stream)).await?;
    run(client, Stalled::new(stream, stall), is_h2, finish).await;
    Ok(())
}

async fn secured(
    client: Arc<Client>,
    tls: TlsAcceptor,
    stream: TcpStream,
    finish: &Finish,
) -> io::Result<()> {
    let settings = &client.shared.parts.settings;
    let (patience, stall) = (settings.header_timeout, settings.stall_timeout);
    let stream = finish.opened(patience, tls.accept(stream)).await?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    run(client, Stalled::new(stream, stall), is_h2, finish).await;
    Ok(())
}

async fn run<S>(client: Arc<Client>, stream: S, is_h2: bool, finish: &Finish)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shared = client.shared.clone();
    let settings = &shared.parts.settings;
    let io = TokioIo::new(Counted::new(stream, client.line.clone()));
    let service = service_fn(move |request: Request<Incoming>| {
        let client = client.clone();
        async move { Ok::<Response<AnswerBody>, Infallible>(proxy::answer(client, request).await) }
    });
    let ended = if is_h2 {
        let serving = pin!(http2(settings).serve_connection(io, service));
        until(serving, finish, http2::Connection::graceful_shutdown).await
    } else {
        let serving = pin!(http1(settings).serve_connection(io, service).with_upgrades());
        until(serving, finish, http1::UpgradeableConnection::graceful_shutdown).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

/// Runs a connection; at shutdown lets it finish what it has begun.
async fn until<C: Future>(
    mut serving: Pin<&mut C>,
    finish: &Finish,
    finishing: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    let mut wake = pin!(finish.wake.cancelled());
    let mut finishing = Some(finishing);
    let mut is_registered = false;
    poll_fn(|cx| {
        // The task's waker stays the same, so that it is left with the token once.
        if !is_registered {
            is_registered = true;
            let _ = wake.as_mut().poll(cx);
        }
        if finish.begun.load(Ordering::Acquire)
            && let Some(finishing) = finishing.take()
        {
            finishing(serving.as_mut());
        }
        serving.as_mut().poll(cx)
    })
    .await
}

fn http1(settings: &RouterSettings) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_header_size(settings.header_bytes)
        .max_buf_size(settings.header_bytes.max(64 << 10) * 2);
    // hyper keeps a hundred headers on the stack and any other number on the heap.
    if settings.headers != 100 {
        http.max_headers(settings.headers);
    }
    http
}

fn http2(settings: &RouterSettings) -> http2::Builder<TokioExecutor> {
    // A client waits at its own end rather than being told that it asks too much at once.
    let streams =
        u32::try_from(settings.client_share()).map_or(MOST_STREAMS, |share| share.min(MOST_STREAMS));
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_header_list_size(u32::try_from(settings.header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(256 << 10)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(settings.header_timeout)
        .keep_alive_timeout(settings.header_timeout);
    http
}
