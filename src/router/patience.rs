//! How long a client may keep the router waiting for a request's body.
//!
//! In all for so long as the body may stand still, and each [`RATE`] bytes win back a second of that: a pause is
//! forgiven, a trickle is not. Without it a byte now and then would hold an instance's place for ever. Time that the
//! instance takes to read is nobody's wait.

use crate::body::Cut;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes that win back a second.
pub(crate) const RATE: u64 = 256;

/// What is left of it for one body.
pub(crate) struct Patience {
    most: Duration,
    left: Duration,
    /// Since when the client is waited for.
    since: Option<Instant>,
    clock: Pin<Box<Sleep>>,
}

impl Patience {
    /// All of it.
    pub(crate) fn new(most: Duration) -> Self {
        Self { most, left: most, since: None, clock: Box::pin(sleep(most)) }
    }

    /// Ends a wait: the client sent so many bytes.
    pub(crate) fn earn(&mut self, bytes: u64) {
        let waited = self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        let earned = Duration::from_millis(bytes.saturating_mul(1000) / RATE);
        self.left = self.left.saturating_sub(waited).saturating_add(earned).min(self.most);
    }

    /// Is whole again: the instance has begun to answer, and how fast the two talk is theirs to say.
    pub(crate) fn renew(&mut self) {
        (self.left, self.since) = (self.most, None);
    }

    /// Waits; ready with what is wrong once there is none left.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            self.clock.as_mut().reset(now + self.left);
        }
        ready!(self.clock.as_mut().poll(cx));
        Poll::Ready(if self.left == self.most { Cut::Stalled } else { Cut::TooSlow })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// Pieces of so many bytes, with so long a pause before each: how many come before the end, and what ends it.
    async fn pieces(bytes: u64, pause: Duration) -> (u32, Option<Cut>) {
        let mut patience = Patience::new(Duration::from_secs(30));
        for count in 0..1000 {
            let end = poll_fn(|cx| patience.poll_end(cx));
            match tokio::time::timeout(pause, end).await {
                Ok(cut) => return (count, Some(cut)),
                Err(_) => patience.earn(bytes),
            }
        }
        (1000, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_and_pauses_are_forgiven() {
        let seconds = Duration::from_secs;
        assert_eq!(pieces(256, seconds(1)).await, (1000, None), "as slow as may be");
        assert_eq!(pieces(16 << 10, seconds(29)).await, (1000, None), "in bursts");
        assert_eq!(pieces(16 << 10, seconds(31)).await, (0, Some(Cut::Stalled)));
        assert_eq!(pieces(1, seconds(1)).await, (30, Some(Cut::TooSlow)));
        let (count, cut) = pieces(128, seconds(1)).await;
        assert!((58..=60).contains(&count) && cut == Some(Cut::TooSlow), "{count} {cut:?}");
        assert_eq!(pieces(0, seconds(1)).await.1, Some(Cut::TooSlow), "nothing, again and again");
    }
}
