//! Connections into instances: HTTP/1.1 as a client, driven by the task of the request that uses it.
//!
//! Enter at [`Connection::send`]; the answer's body then comes from [`Connection::poll_body`]. A client library gives a
//! connection a task of its own and passes each message through channels; for small answers that costs more than all
//! else here, and a request cannot be told apart that was never sent. So `head` writes and reads the heads,
//! `upload` sends bodies, `chunks` reads them, and nothing is kept of any of it. An instance is not trusted: what is not
//! clearly one answer ends the connection.

mod chunks;
mod head;
mod upload;

use crate::body::{Progress, RequestBody};
use crate::stalled::Stalled;
use bytes::{Bytes, BytesMut};
use chunks::Chunks;
use http::{Response, StatusCode, request};
use http_body::Frame;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;
use upload::Upload;

/// The longest head of an answer, and the longest line and trailers of a chunked body.
const MOST_HEAD: usize = 128 << 10;
/// How much is read at once.
const READ: usize = 16 << 10;
const LEAST: usize = 4 << 10;

/// The stream of a connection.
pub(crate) type Socket = Stalled<TcpStream>;

/// A connection into an instance.
pub(crate) struct Connection {
    stream: Socket,
    input: BytesMut,
    upload: Upload,
    clock: Option<Pin<Box<Sleep>>>,
    /// Whether the last answer allows another request.
    stays: bool,
}

/// What is left of an answer's body.
#[derive(Debug)]
pub(crate) enum Remains {
    /// Nothing.
    Nothing,
    /// So many bytes.
    Bytes(u64),
    /// Chunks.
    Chunks(Chunks),
    /// All until the connection ends.
    UntilEnd,
}

/// Why there is no answer.
pub(crate) enum Unanswered {
    /// The instance took too long.
    TooSlow,
    /// The connection broke, or what came is no answer.
    Broken {
        /// Why.
        error: io::Error,
        /// The request's body, where nothing was taken from it.
        body: Option<RequestBody>,
        /// Whether not a byte of the request was sent.
        unsent: bool,
    },
}

impl Connection {
    /// Speaks HTTP/1.1 over this stream.
    pub(crate) fn new(stream: TcpStream, stall: Duration) -> Self {
        let _ = stream.set_nodelay(true);
        Self {
            stream: Stalled::new(stream, stall),
            input: BytesMut::new(),
            upload: Upload::default(),
            clock: None,
            stays: true,
        }
    }

    /// Whether it takes another request: the last answer has ended, and the instance has neither closed it nor said
    /// anything unasked, as far as is known here.
    pub(crate) fn is_free(&mut self, cx: &mut Context<'_>) -> bool {
        self.stays && self.upload.is_done() && self.input.is_empty() && self.poll_read(cx).is_pending()
    }

    /// Sends a request and waits for the head of its answer: for `patience` from `now` on, and longer while the
    /// request's body is on its way.
    pub(crate) async fn send(
        &mut self,
        head: &request::Parts,
        body: RequestBody,
        now: Instant,
        patience: Duration,
        progress: &Progress,
    ) -> Result<(Response<()>, Remains), Unanswered> {
        self.upload.begin(head, body);
        self.stays = false;
        // Kept from request to request: to move a timer that is set is cheaper than to set one.
        let deadline = now + patience;
        match &mut self.clock {
            Some(clock) => clock.as_mut().reset(deadline),
            None => self.clock = Some(Box::pin(sleep_until(deadline))),
        }
        let mut pieces = 0;
        let answered = poll_fn(|cx| {
            if let Poll::Ready(answer) = self.poll_head(&head.method, cx) {
                return Poll::Ready(Some(answer));
            }
            let Some(clock) = &mut self.clock else { return Poll::Pending };
            while clock.as_mut().poll(cx).is_ready() {
                if progress.pieces() == pieces {
                    return Poll::Ready(None);
                }
                pieces = progress.pieces();
                clock.as_mut().reset(Instant::now() + patience);
            }
            Poll::Pending
        });
        match answered.await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => {
                let unsent = self.upload.is_unsent();
                Err(Unanswered::Broken { error, body: self.upload.take_untouched(), unsent })
            }
            None => Err(Unanswered::TooSlow),
        }
    }

    fn poll_head(
        &mut self,
        method: &http::Method,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Response<()>, Remains)>> {
        // An instance may answer without having read all; what it says counts more than that it stopped reading.
        let mut sent = self.poll_upload(cx);
        if self.upload.is_cut()
            && let Poll::Ready(Err(error)) = sent
        {
            return Poll::Ready(Err(error));
        }
        loop {
            match head::read(&mut self.input)? {
                Some(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return Poll::Ready(Ok((answer, Remains::Nothing)));
                }
                Some(answer) if answer.status().is_informational() => {}
                Some(mut answer) => {
                    let (remains, stays) = head::remains(method, &mut answer)?;
                    self.stays = stays;
                    return Poll::Ready(Ok((answer, remains)));
                }
                None if self.input.len() > MOST_HEAD => return Poll::Ready(Err(bad("a head too long"))),
                None => match ready!(self.poll_read(cx)) {
                    Ok(0) => {
                        let early = io::Error::from(io::ErrorKind::UnexpectedEof);
                        let sent = std::mem::replace(&mut sent, Poll::Pending);
                        return Poll::Ready(Err(match sent {
                            Poll::Ready(Err(error)) => error,
                            _ => early,
                        }));
                    }
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    /// The next piece of an answer's body. Goes on sending what is left of the request's.
    pub(crate) fn poll_body(
        &mut self,
        remains: &mut Remains,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx) {
            self.stays = false;
            if self.upload.is_cut() {
                return Poll::Ready(Some(Err(error)));
            }
        }
        loop {
            let piece = match remains {
                Remains::Nothing => return Poll::Ready(None),
                Remains::Bytes(left) => {
                    let count = self.input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    (count > 0).then(|| Frame::data(self.input.split_to(count).freeze()))
                }
                Remains::Chunks(chunks) => chunks.next(&mut self.input)?,
                Remains::UntilEnd => {
                    (!self.input.is_empty()).then(|| Frame::data(self.input.split().freeze()))
                }
            };
            if matches!(remains, Remains::Bytes(0))
                || matches!(remains, Remains::Chunks(chunks) if chunks.is_done())
            {
                *remains = Remains::Nothing;
            }
            if let Some(piece) = piece {
                return Poll::Ready(Some(Ok(piece)));
            }
            if matches!(remains, Remains::Nothing) {
                return Poll::Ready(None);
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if matches!(remains, Remains::UntilEnd) => *remains = Remains::Nothing,
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// The stream after an answer that left HTTP, and what of it was read already.
    pub(crate) fn into_stream(self) -> (Socket, Bytes) {
        (self.stream, self.input.freeze())
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.upload.poll(&mut self.stream, cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // What was read before is often in use still, so that reserving allocates: not for every small answer.
        if self.input.capacity() - self.input.len() < LEAST {
            self.input.reserve(READ);
        }
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input)
    }
}

/// What an instance said is no HTTP.
fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
