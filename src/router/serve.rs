//! A router's listeners: taking connections in, and stopping.
//!
//! Enter at [`serve()`]; what becomes of a connection is in `connection`.

use crate::accept::{self, Failure};
use crate::connection::{Finish, connection};
use crate::guard::Admission;
use crate::host::Names;
use crate::table::Tables;
use crate::{BoxError, Dial, Fallback, InFlight, NoAccessLog, RouterParts, RouterSettings};
use async_trait::async_trait;
use http::{Request, Response};
use hyper::body::Incoming;
use hythe_model::{InstanceId, RouteTable};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long accepting pauses where descriptors or memory are short.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

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

/// Serves the platform's own service on a listener of its own, with the same care: whatever host is named, no tool
/// answers there. Returns as [`serve()`] does; a stream without end is cut after `grace`, so end yours first.
pub async fn serve_platform<S, B>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    service: S,
    grace: Duration,
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
        settings: RouterSettings { shutdown_grace: grace, ..RouterSettings::default() },
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
