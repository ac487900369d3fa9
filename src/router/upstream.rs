//! Connections into instances, driven by the task of the request that uses them.
//!
//! Enter at [`Connection::open`] and [`Connection::send`]. hyper's client half of a connection is a future of its own;
//! instead of a task for it, whose waking would cost more than the request, the request polls it until its answer has
//! ended, and an idle connection is polled by nobody until it is looked at.

use crate::body::{Progress, RequestBody};
use crate::stalled::Stalled;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// The socket of a connection into an instance.
pub(crate) type Socket = TokioIo<Stalled<TcpStream>>;
type Driver = http1::Connection<Socket, RequestBody>;

/// A connection into an instance.
pub(crate) struct Connection {
    sender: SendRequest<RequestBody>,
    /// Gone as soon as the connection has ended: hyper then gives back a request that was not sent.
    driver: Option<Box<Driver>>,
    clock: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// Speaks HTTP/1.1 over this stream.
    pub(crate) async fn open(stream: TcpStream, stall: Duration) -> hyper::Result<Self> {
        let (sender, driver) = handshake(stream, stall).await?;
        Ok(Self { sender, driver: Some(Box::new(driver)), clock: None })
    }

    /// Whether it takes another request: the last answer has ended and the instance has not closed it, as far as is
    /// known here.
    pub(crate) fn is_free(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Reads and writes what can be now.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }

    /// Sends a request and waits for the head of its answer: for `patience` from `now` on, and longer while the
    /// request's body is on its way.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
        now: Instant,
        patience: Duration,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        // Kept from request to request: to move a timer that is set is cheaper than to set one.
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep_until(now + patience)));
        clock.as_mut().reset(now + patience);
        let mut pieces = 0;
        poll_fn(|cx| {
            drive(driver, cx);
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                let broken =
                    |mut error: TrySendError<_>| Unanswered::Broken(error.take_message().map(Box::new));
                return Poll::Ready(answer.map_err(broken));
            }
            while clock.as_mut().poll(cx).is_ready() {
                if progress.pieces() == pieces {
                    return Poll::Ready(Err(Unanswered::TooSlow));
                }
                pieces = progress.pieces();
                clock.as_mut().reset(Instant::now() + patience);
            }
            Poll::Pending
        })
        .await
    }
}

/// Why there is no answer.
pub(crate) enum Unanswered {
    /// The instance took too long.
    TooSlow,
    /// The connection broke; here is the request again, where nothing of it was sent.
    Broken(Option<Box<Request<RequestBody>>>),
}

fn drive(driver: &mut Option<Box<Driver>>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
        *driver = None;
    }
}

async fn handshake(stream: TcpStream, stall: Duration) -> hyper::Result<(SendRequest<RequestBody>, Driver)> {
    let _ = stream.set_nodelay(true);
    http1::Builder::new().max_buf_size(128 << 10).handshake(TokioIo::new(Stalled::new(stream, stall))).await
}

/// Sends a request that asks to leave HTTP, on a connection of its own; a task drives it from here on.
pub(crate) async fn send_upgrade(
    stream: TcpStream,
    stall: Duration,
    request: Request<RequestBody>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, driver) = handshake(stream, stall).await?;
    tokio::spawn(async move {
        if let Err(error) = driver.with_upgrades().await {
            tracing::debug!(%error, "a connection that was asked to upgrade ended");
        }
    });
    sender.send_request(request).await
}
