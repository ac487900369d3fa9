//! What is left to send of a request: its head, then its body as the client sends it.

use super::{Socket, head};
use crate::body::RequestBody;
use crate::headers;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, request};
use http_body::Body;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// As much is gathered before it is written.
const GATHERED: usize = 16 << 10;

/// A request on its way out.
#[derive(Default)]
pub(super) struct Upload {
    /// Small things in a row.
    out: BytesMut,
    /// A large piece of the body, written after `out` without being copied.
    large: Bytes,
    body: Option<RequestBody>,
    chunked: bool,
    sent: bool,
    touched: bool,
    failure: Option<Failure>,
}

/// Why a request will never be sent whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The instance does not take it.
    Refused,
    /// The client's body ended early.
    Cut,
}

impl Upload {
    /// Begins another request.
    pub(super) fn begin(&mut self, head: &request::Parts, body: RequestBody) {
        let has_body = !matches!(body, RequestBody::Empty);
        let chunked = has_body && !head.headers.contains_key(CONTENT_LENGTH);
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        head::write(head, chunked, &mut out);
        self.out = out;
        self.body = has_body.then_some(body);
        self.chunked = chunked;
        (self.sent, self.touched, self.failure) = (false, false, None);
    }

    /// Whether all was sent.
    pub(super) fn is_done(&self) -> bool {
        self.failure.is_none() && self.body.is_none() && !self.has_more()
    }

    /// Whether the client's body ended early, so that the request will never be whole.
    pub(super) fn is_cut(&self) -> bool {
        self.failure == Some(Failure::Cut)
    }

    /// Whether not a byte was sent.
    pub(super) fn is_unsent(&self) -> bool {
        !self.sent
    }

    /// The body, where nothing was taken from it.
    pub(super) fn take_untouched(&mut self) -> Option<RequestBody> {
        match (self.touched, self.chunked, self.body.take()) {
            (true, ..) => None,
            (false, _, Some(body)) => Some(body),
            (false, _, None) => Some(RequestBody::Empty),
        }
    }

    fn has_more(&self) -> bool {
        !self.out.is_empty() || !self.large.is_empty()
    }

    /// Sends what can be sent now; ready when all was.
    pub(super) fn poll(&mut self, stream: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failure.is_some() || (self.body.is_none() && !self.has_more()) {
            return Poll::Ready(Ok(()));
        }
        let poll = self.poll_all(stream, cx);
        if let Poll::Ready(Err(_)) = &poll {
            self.failure.get_or_insert(Failure::Refused);
        }
        poll
    }

    fn poll_all(&mut self, stream: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let waits = self.gather(cx)?;
            while self.has_more() {
                let bytes = if self.out.is_empty() { &self.large[..] } else { &self.out[..] };
                let count = ready!(Pin::new(&mut *stream).poll_write(cx, bytes))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.sent = true;
                if !self.out.is_empty() {
                    self.out.advance(count);
                    continue;
                }
                self.large.advance(count);
                if self.large.is_empty() {
                    self.end_chunk();
                }
            }
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Takes from the body what is there, up to a bound; true where it has nothing at the moment.
    fn gather(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        while self.large.is_empty() && self.out.len() < GATHERED {
            let Some(body) = &mut self.body else { return Ok(false) };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { return Ok(true) };
            self.touched = true;
            let frame = frame.transpose().map_err(|error| {
                self.failure = Some(Failure::Cut);
                io::Error::other(error)
            });
            match frame? {
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.data(data),
                    Err(frame) => self.end(frame.into_trailers().ok().as_ref()),
                },
                None => self.end(None),
            }
        }
        Ok(false)
    }

    fn data(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        if self.chunked {
            self.out.put_slice(format!("{:x}\r\n", data.len()).as_bytes());
        }
        if data.len() < GATHERED {
            self.out.put_slice(&data);
            self.end_chunk();
        } else {
            self.large = data;
        }
    }

    fn end_chunk(&mut self) {
        if self.chunked {
            self.out.put_slice(b"\r\n");
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.body = None;
        if !self.chunked {
            return;
        }
        self.out.put_slice(b"0\r\n");
        let allowed = trailers.into_iter().flatten().filter(|(name, _)| headers::may_follow(name));
        for (name, value) in allowed {
            self.out.put_slice(name.as_str().as_bytes());
            self.out.put_slice(b": ");
            self.out.put_slice(value.as_bytes());
            self.out.put_slice(b"\r\n");
        }
        self.out.put_slice(b"\r\n");
    }
}
