//! How long to wait before a crashed instance is started again.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
/// An instance that was well for so long starts from the beginning.
const WELL: Duration = Duration::from_mins(10);

/// Exponential back-off: 1 s, 2 s, 4 s, ... up to the longest wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    crashes: u32,
    longest: Duration,
}

impl Backoff {
    /// No crash yet.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { crashes: 0, longest }
    }

    /// The wait after another crash of an instance that had been ready for so long.
    pub(crate) fn next(&mut self, well: Duration) -> Duration {
        if well >= WELL {
            self.crashes = 0;
        }
        let wait = FIRST.saturating_mul(2_u32.saturating_pow(self.crashes)).min(self.longest);
        self.crashes = self.crashes.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_again_after_ten_good_ones() {
        let longest = Duration::from_mins(5);
        let mut backoff = Backoff::new(longest);
        let waits: Vec<_> = (0..10).map(|_| backoff.next(Duration::ZERO).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(backoff.next(Duration::from_secs(599)).as_secs(), 300);
        assert_eq!(backoff.next(Duration::from_mins(10)).as_secs(), 1);
        assert_eq!(backoff.next(Duration::ZERO).as_secs(), 2);
        (0..100).for_each(|_| assert!(backoff.next(Duration::ZERO) <= longest));
    }
}
