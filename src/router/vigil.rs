//! Connections on which nothing is asked: how long they stay open.
//!
//! A head may take [`Limits::head`] from its first byte, a connection [`Limits::idle`] without a request. Requests come
//! and go without a timer being set for each: the clock runs from look to look, and every look asks what has happened.

use crate::RouterSettings;
use crate::line::Line;
use crate::streams::Streams;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection may stay as it is.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// With a head that has begun; `None` where the start of one cannot be seen.
    head: Option<Duration>,
    /// Without a request.
    idle: Duration,
    /// Until the next look.
    look: Duration,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Requests are under way.
    Busy,
    /// None is, since then.
    Quiet(Instant),
    /// The head of one has begun then.
    Head(Instant),
}

/// Watches one connection.
pub(crate) struct Vigil {
    line: Arc<Line>,
    /// The answers that are looked after too.
    streams: Option<Arc<Streams>>,
    limits: Limits,
    state: State,
    /// Requests that were asked, and bytes that had come, when it was busy last.
    known: (u64, u64),
    clock: Pin<Box<Sleep>>,
}

impl Vigil {
    /// Over a connection that has just begun; with `streams` one of HTTP/2.
    pub(crate) fn new(line: Arc<Line>, streams: Option<Arc<Streams>>, settings: &RouterSettings) -> Self {
        let now = Instant::now();
        let (idle, look) = (settings.idle_timeout, settings.idle_timeout.min(settings.stall_timeout) / 4);
        let head = streams.is_none().then_some(settings.header_timeout);
        let state = if head.is_some() { State::Head(now) } else { State::Quiet(now) };
        let limits = Limits { head, idle, look: look.max(Duration::from_millis(10)) };
        let clock = Box::pin(sleep_until(now + limits.look.min(head.unwrap_or(idle))));
        Self { line, streams, limits, state, known: (0, 0), clock }
    }

    /// Allows no more than this from now on.
    pub(crate) fn hurry(&mut self, limit: Duration) {
        let now = Instant::now();
        let Limits { head, idle, look } = self.limits;
        self.limits =
            Limits { head: head.map(|head| head.min(limit)), idle: idle.min(limit), look: look.min(limit) };
        if !matches!(self.state, State::Busy) {
            self.state = State::Quiet(now);
        }
        self.clock.as_mut().reset(now + limit);
    }

    /// Looks; ready once the connection has been as it is for too long. Follows every poll of the connection.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.look();
        if matches!(self.state, State::Busy) && self.streams.is_none() {
            return Poll::Pending;
        }
        while self.clock.as_mut().poll(cx).is_ready() {
            if let Some(streams) = &self.streams {
                streams.end_stalled();
            }
            let (now, end) = (Instant::now(), self.end());
            if end.is_some_and(|end| end <= now) {
                return Poll::Ready(());
            }
            let next = now + self.limits.look;
            self.clock.as_mut().reset(end.map_or(next, |end| end.min(next)));
        }
        Poll::Pending
    }

    fn look(&mut self) {
        let (asked, under_way) = self.line.requests();
        let (known, heard) = self.known;
        if under_way > 0 {
            self.state = State::Busy;
        } else if asked != known || matches!(self.state, State::Busy) {
            self.state = State::Quiet(Instant::now());
            self.known = (asked, self.line.read());
        } else if let (State::Quiet(_), Some(patience)) = (self.state, self.limits.head)
            && self.line.read() != heard
        {
            let now = Instant::now();
            self.state = State::Head(now);
            self.clock.as_mut().reset(now + patience);
        }
    }

    fn end(&self) -> Option<Instant> {
        match self.state {
            State::Busy => None,
            State::Quiet(since) => Some(since + self.limits.idle),
            State::Head(since) => Some(since + self.limits.head.unwrap_or(self.limits.idle)),
        }
    }
}
