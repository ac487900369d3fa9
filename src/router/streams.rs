//! Answers over HTTP/2 that their client does not take.
//!
//! A connection of HTTP/1.1 stands still with its answer; one of HTTP/2 goes on while an answer waits for its client to
//! ask for more, and nobody polls what waits. So these answers are lent out, and taken back where they wait too long:
//! the instance's place and connection are free again, and the client finds its stream reset.

use crate::body::{AnswerBody, InstanceBody};
use crate::fallback::BoxError;
use bytes::Bytes;
use http_body::Frame;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// So many are remembered before those that have ended are forgotten; more than are open at once.
const ROOM: usize = 512;

/// The answers of one connection that are under way.
pub(crate) struct Streams {
    stall: Duration,
    lent: Mutex<Vec<Weak<Lent>>>,
}

/// An answer that can be taken back.
pub(crate) struct Lent(Mutex<Held>);

struct Held {
    /// `None` once it was taken back.
    body: Option<Box<InstanceBody>>,
    /// Since when the client has a piece to take; `None` where it waits for the instance.
    since: Option<Instant>,
}

impl Streams {
    /// Takes back what its client leaves for `stall`.
    pub(crate) fn new(stall: Duration) -> Self {
        Self { stall, lent: Mutex::default() }
    }

    /// Keeps an eye on an instance's answer.
    pub(crate) fn lend(&self, body: AnswerBody) -> AnswerBody {
        match body {
            AnswerBody::Instance(body) if !body.is_ended() => {
                let held = Held { body: Some(body), since: Some(Instant::now()) };
                let lent = Arc::new(Lent(Mutex::new(held)));
                self.remember(&lent);
                AnswerBody::Lent(lent)
            }
            other => other,
        }
    }

    fn remember(&self, lent: &Arc<Lent>) {
        let mut all = self.lock();
        if all.len() >= ROOM {
            all.retain(|lent| lent.strong_count() > 0);
        }
        all.push(Arc::downgrade(lent));
    }

    /// Takes back what was left too long.
    pub(crate) fn end_stalled(&self) {
        let mut stalled = Vec::new();
        self.lock().retain(|lent| {
            let lent = lent.upgrade();
            stalled.extend(lent.as_ref().and_then(|lent| lent.take_stalled(self.stall)));
            lent.is_some()
        });
        for body in stalled {
            body.give_up();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Lent>>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// The next piece.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut held = self.lock();
        let Some(body) = &mut held.body else {
            return Poll::Ready(Some(Err("the client took nothing for too long".into())));
        };
        let poll = body.poll(cx);
        held.since = poll.is_ready().then(Instant::now);
        poll
    }

    /// What `ask` says of the answer; `None` where it was taken back.
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&InstanceBody) -> T) -> Option<T> {
        self.lock().body.as_deref().map(ask)
    }

    fn take_stalled(&self, stall: Duration) -> Option<Box<InstanceBody>> {
        let mut held = self.lock();
        held.since.filter(|since| since.elapsed() >= stall).and_then(|_| held.body.take())
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
