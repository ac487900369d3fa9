//! When this server has renewed what it holds, and what follows from that.
//!
//! A database that was away for longer than a life is good for leaves all lives run out, also of servers that live. So a server
//! judges others only once it has renewed without a gap for as long as they need to do the same.

use super::{BEAT, GOOD_FOR, GRACE};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Two renewals farther apart than this have a gap between them, in which the database may have been away for all.
const GAP: Duration = BEAT.saturating_mul(2);

/// The renewals of this server.
pub(super) struct Pulse {
    /// When the last one began that went well.
    renewed: watch::Sender<Instant>,
    /// Since when there was no gap between them.
    steady: Option<Instant>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { renewed: watch::Sender::new(Instant::now()), steady: None }
    }

    /// Lets go whenever the last renewal is too long ago, whatever the next one waits for; until the pulse is dropped. What is taken
    /// after that has as long.
    pub(super) fn let_go_in_time<F: Fn()>(&self, let_go: F) -> impl Future<Output = ()> + use<F> {
        let mut renewed = self.renewed.subscribe();
        async move {
            let mut until = *renewed.borrow_and_update() + GRACE;
            loop {
                until = match tokio::time::timeout_at(until, renewed.changed()).await {
                    Ok(Ok(())) => *renewed.borrow_and_update() + GRACE,
                    Ok(Err(_)) => return,
                    Err(_) => {
                        let_go();
                        Instant::now() + GRACE
                    }
                };
            }
        }
    }

    /// A renewal that began then has gone well.
    pub(super) fn renewed(&mut self, begun: Instant) {
        let now = Instant::now();
        let before = self.renewed.send_replace(begun);
        if now.duration_since(before) > GAP {
            self.steady = None;
        }
        self.steady.get_or_insert(now);
    }

    /// Whether whoever lives has had time to renew too.
    pub(super) fn is_steady(&self) -> bool {
        self.steady.is_some_and(|since| since.elapsed() >= GOOD_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Beats for a while.
    async fn beat(pulse: &mut Pulse, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            pulse.renewed(Instant::now());
            tokio::time::sleep(BEAT).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_gap_others_are_given_the_time_of_a_life() {
        let mut pulse = Pulse::new();
        beat(&mut pulse, GOOD_FOR).await;
        assert!(pulse.is_steady());
        // The database is away: the renewal that waits for it goes well at the end.
        let begun = Instant::now();
        tokio::time::sleep(GAP).await;
        pulse.renewed(begun);
        assert!(!pulse.is_steady(), "the others are about to renew");
        beat(&mut pulse, GOOD_FOR.saturating_sub(BEAT)).await;
        assert!(!pulse.is_steady());
        beat(&mut pulse, BEAT).await;
        assert!(pulse.is_steady(), "who has not renewed by now is dead");
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_hangs_does_not_keep_what_is_held() {
        let mut pulse = Pulse::new();
        let times = Arc::new(AtomicUsize::new(0));
        let counted = times.clone();
        let watching = tokio::spawn(pulse.let_go_in_time(move || {
            counted.fetch_add(1, Relaxed);
        }));
        beat(&mut pulse, 5 * BEAT).await;
        let last = Instant::now() - BEAT;
        tokio::time::sleep_until(last + GRACE - Duration::from_millis(10)).await;
        assert_eq!(times.load(Relaxed), 0);
        tokio::time::sleep_until(last + GRACE + Duration::from_millis(10)).await;
        assert_eq!(times.load(Relaxed), 1, "before others may take it");
        tokio::time::sleep(GRACE).await;
        assert_eq!(times.load(Relaxed), 2, "what was taken meanwhile too");
        beat(&mut pulse, 5 * BEAT).await;
        assert_eq!(times.load(Relaxed), 2);
        drop(pulse);
        watching.await.unwrap();
    }
}
