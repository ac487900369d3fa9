//! The accept loop.

use crate::RouterParts;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The peer of a request's connection; an extension of requests to the fallback.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddr(pub SocketAddr);

/// Why a router stopped.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The listener cannot be used.
    #[error("the router cannot listen: {0}")]
    Listen(io::Error),
}

/// Finds instances for requests. Cheap to clone; several listeners may share one.
#[derive(Clone)]
pub struct Router {
    parts: Arc<RouterParts>,
}

impl Router {
    /// A router of these parts.
    pub fn new(parts: RouterParts) -> Self {
        Self { parts: Arc::new(parts) }
    }
}

/// Serves a listener until `shutdown` is cancelled; then answers what is under way and returns.
///
/// With `tls` every connection speaks TLS; its ALPN names should be `h2` and `http/1.1`. Without, plain HTTP/1.1 and
/// HTTP/2 with prior knowledge.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), RouterError> {
    todo!()
}
