//! A client's connection from its first byte to its last.
//!
//! Enter at [`connection`]. It is counted, secured where the listener has TLS, recognised as HTTP/1.1 or HTTP/2, and
//! served until it ends, stands still or the router stops.

use crate::RouterSettings;
use crate::body::Sent;
use crate::headers::Forwarding;
use crate::line::{Counted, Line};
use crate::proxy::{self, Client};
use crate::serve::Shared;
use crate::stalled::Stalled;
use crate::streams::Streams;
use crate::vigil::Vigil;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Most requests at once over one connection of HTTP/2.
const MOST_STREAMS: u32 = 200;
/// How long a connection without a request is left open once it is told to finish.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Tells a listener's connections to finish. The flag is there because every poll asks it; the token wakes who sleeps.
#[derive(Debug, Default)]
pub(crate) struct Finish {
    begun: AtomicBool,
    wake: CancellationToken,
}

impl Finish {
    /// Begins the end.
    pub(crate) fn begin(&self) {
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

/// Serves one connection until it ends.
pub(crate) async fn connection(
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
    let streams = is_h2.then(|| Arc::new(Streams::new(settings.stall_timeout)));
    let vigil = Vigil::new(client.line.clone(), streams.clone(), settings);
    let service = service_fn(move |request: Request<Incoming>| {
        let (client, streams, under_way) = (client.clone(), streams.clone(), client.line.ask());
        async move {
            let answer = proxy::answer(client, request).await;
            Ok::<_, Infallible>(answer.map(|body| {
                let body = match streams {
                    Some(streams) => streams.lend(body),
                    None => body,
                };
                Sent::new(body, under_way)
            }))
        }
    });
    let ended = if is_h2 {
        let serving = pin!(http2(settings).serve_connection(io, service));
        until(serving, finish, vigil, http2::Connection::graceful_shutdown).await
    } else {
        let serving = pin!(http1(settings).serve_connection(io, service).with_upgrades());
        until(serving, finish, vigil, http1::UpgradeableConnection::graceful_shutdown).await
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a client's connection ended"),
        None => tracing::debug!("a client's connection stood still"),
    }
}

/// Runs a connection; where it stands still or the router stops, lets it finish what it has begun. `None` where it does
/// not come to an end by itself then.
async fn until<C: Future>(
    mut serving: Pin<&mut C>,
    finish: &Finish,
    mut vigil: Vigil,
    finishing: impl FnOnce(Pin<&mut C>),
) -> Option<C::Output> {
    let mut wake = pin!(finish.wake.cancelled());
    let mut finishing = Some(finishing);
    let (mut is_registered, mut is_silent) = (false, false);
    poll_fn(|cx| {
        // The task's waker stays the same, so that it is left with the token once.
        if !is_registered {
            is_registered = true;
            let _ = wake.as_mut().poll(cx);
        }
        loop {
            if (is_silent || finish.begun.load(Ordering::Acquire))
                && let Some(finishing) = finishing.take()
            {
                finishing(serving.as_mut());
                vigil.hurry(LAST_CALL);
            }
            if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            ready!(vigil.poll(cx));
            if finishing.is_none() {
                return Poll::Ready(None);
            }
            is_silent = true;
        }
    })
    .await
}

fn http1(settings: &RouterSettings) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The vigil has an eye on heads: hyper would set a timer for each.
    http.header_read_timeout(None)
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
