//! A client's connection as the router keeps count of it: its place among all, and what goes over it.
//!
//! [`Line`] lives as long as anything uses the connection, a tunnel included; [`Counted`] is its stream.

use crate::guard::Place;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Line {
    _place: Place,
    read: AtomicU64,
    written: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
}

/// A request over a connection, until it is dropped.
pub(crate) struct UnderWay(Arc<Line>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Release);
    }
}

impl Line {
    /// A connection that has a place, over which nothing went so far.
    pub(crate) fn new(place: Place) -> Self {
        let [read, written, asked, answered] = [const { AtomicU64::new(0) }; 4];
        Self { _place: place, read, written, asked, answered }
    }

    /// Counts a request in.
    pub(crate) fn ask(self: &Arc<Self>) -> UnderWay {
        self.asked.fetch_add(1, Ordering::Release);
        UnderWay(self.clone())
    }

    /// Requests so far, and those under way.
    pub(crate) fn requests(&self) -> (u64, u64) {
        let answered = self.answered.load(Ordering::Acquire);
        let asked = self.asked.load(Ordering::Acquire);
        (asked, asked - answered)
    }

    /// Bytes that came from the client.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes that went to the client.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Returns once nothing has gone either way for `limit`, at the latest a quarter of it later.
    pub(crate) async fn silence(&self, limit: Duration) {
        const LOOKS: u32 = 4;
        let (mut last, mut silent) = ((self.read(), self.written()), 0);
        while silent < LOOKS {
            tokio::time::sleep(limit / LOOKS).await;
            let now = (self.read(), self.written());
            silent = if now == last { silent + 1 } else { 0 };
            last = now;
        }
    }
}

/// The stream of a client's connection.
pub(crate) struct Counted<S> {
    stream: S,
    line: Arc<Line>,
}

impl<S> Counted<S> {
    /// Counts on `line` what goes over the stream.
    pub(crate) fn new(stream: S, line: Arc<Line>) -> Self {
        Self { stream, line }
    }

    fn wrote(&self, poll: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = poll {
            self.line.written.fetch_add(*count as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.line.read.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&poll);
        poll
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(&poll);
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Admission;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    fn line() -> Arc<Line> {
        let place = Admission::new(1, 1).enter("192.0.2.1".parse().unwrap()).unwrap();
        Arc::new(Line::new(place))
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_when_neither_side_speaks() {
        let (near, mut far) = tokio::io::duplex(64);
        let line = line();
        let mut near = Counted::new(near, line.clone());
        let begun = Instant::now();
        let talk = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                near.write_all(b"a").await.unwrap();
                tokio::time::sleep(Duration::from_secs(50)).await;
                far.write_all(b"b").await.unwrap();
                near.read_u8().await.unwrap();
            }
        };
        let ((), ()) = tokio::join!(talk, line.silence(Duration::from_mins(1)));
        let silent = begun.elapsed().as_secs() - 300;
        assert!((60..=75).contains(&silent), "{silent}");
        assert_eq!((line.read(), line.written()), (3, 3));
    }
}
