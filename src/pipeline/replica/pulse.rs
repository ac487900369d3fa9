//! When this server has renewed what it holds, and what follows from that.
//!
//! A database that was away for longer than a life is good for leaves all lives run out, also of servers that live. So a server
//! judges others only once it has renewed without a gap for as long as they need to do the same.

use super::{BEAT, GOOD_FOR};
use std::time::Duration;
use tokio::time::Instant;

/// Two renewals farther apart than this have a gap between them, in which the database may have been away for all.
const GAP: Duration = BEAT.saturating_mul(2);

/// The renewals of this server.
pub(super) struct Pulse {
    /// When the last one began that went well.
    renewed: Instant,
    /// Since when there was no gap between them.
    steady: Option<Instant>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { renewed: Instant::now(), steady: None }
    }

    /// A renewal that began then has gone well.
    pub(super) fn renewed(&mut self, begun: Instant) {
        let now = Instant::now();
        if now.duration_since(self.renewed) > GAP {
            self.steady = None;
        }
        self.steady.get_or_insert(now);
        self.renewed = begun;
    }

    /// Whether whoever lives has had time to renew too.
    pub(super) fn is_steady(&self) -> bool {
        self.steady.is_some_and(|since| since.elapsed() >= GOOD_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        beat(&mut pulse, GOOD_FOR - BEAT).await;
        assert!(!pulse.is_steady());
        beat(&mut pulse, BEAT).await;
        assert!(pulse.is_steady(), "who has not renewed by now is dead");
    }
}
