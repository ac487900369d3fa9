//! Wrong tokens, counted by where they come from, so that nobody tries them at will.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tokens that an address may show within the span; what it shows then is not looked at until the span is over.
const FREE: u32 = 20;
const SPAN: Duration = Duration::from_mins(1);
/// Addresses that are remembered.
const ADDRESSES: usize = 4096;

/// The failures of every address that had some lately.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<IpAddr, Failures>>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Failures {
    fn left(&self, now: Instant) -> Option<Duration> {
        SPAN.checked_sub(now.duration_since(self.since)).filter(|left| !left.is_zero())
    }
}

impl Attempts {
    /// How long this address has to wait; `None` where it may try.
    pub(crate) fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.all().get(&network(from)).copied()?;
        failures.left(now).filter(|_| failures.count >= FREE)
    }

    /// Counts a wrong token.
    pub(crate) fn failed(&self, from: IpAddr, now: Instant) {
        let (from, mut all) = (network(from), self.all());
        if all.len() >= ADDRESSES && !all.contains_key(&from) {
            make_room(&mut all, now);
        }
        let failures = all.entry(from).or_insert(Failures { since: now, count: 0 });
        if failures.left(now).is_none() {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count += 1;
    }

    fn all(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets what is over, or else the address whose span ends first.
fn make_room(all: &mut HashMap<IpAddr, Failures>, now: Instant) {
    all.retain(|_, failures| failures.left(now).is_some());
    if all.len() >= ADDRESSES {
        let oldest = all.iter().min_by_key(|(_, failures)| failures.since).map(|(from, _)| *from);
        oldest.and_then(|from| all.remove(&from));
    }
}

/// The address, or of IPv6 its network: one client has all 2^64 addresses of it.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(attempts: &Attempts, from: &str, times: u32, now: Instant) {
        (0..times).for_each(|_| attempts.failed(from.parse().unwrap(), now));
    }

    fn wait(attempts: &Attempts, from: &str, now: Instant) -> Option<Duration> {
        attempts.wait(from.parse().unwrap(), now)
    }

    #[test]
    fn who_fails_too_often_waits_for_the_end_of_the_span() {
        let (attempts, begin) = (Attempts::default(), Instant::now());
        fail(&attempts, "192.0.2.1", FREE - 1, begin);
        let later = begin + Duration::from_secs(20);
        assert_eq!(wait(&attempts, "192.0.2.1", later), None);
        fail(&attempts, "192.0.2.1", 1, later);
        assert_eq!(wait(&attempts, "192.0.2.1", later), Some(Duration::from_secs(40)));
        assert_eq!(wait(&attempts, "::ffff:192.0.2.1", later), Some(Duration::from_secs(40)));
        assert_eq!(wait(&attempts, "192.0.2.2", later), None, "another address");
        assert_eq!(wait(&attempts, "192.0.2.1", begin + SPAN), None, "the span is over");
        fail(&attempts, "192.0.2.1", 1, begin + SPAN);
        assert_eq!(wait(&attempts, "192.0.2.1", begin + SPAN), None, "the count begins anew");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        (0..FREE).for_each(|n| fail(&attempts, &format!("2001:db8::{n:x}"), 1, now));
        assert!(wait(&attempts, "2001:db8::ffff", now).is_some());
        assert!(wait(&attempts, "2001:db8:0:1::1", now).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..ADDRESSES + 100 {
            let from = std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap());
            attempts.failed(from.into(), now + Duration::from_millis(n as u64));
        }
        assert_eq!(attempts.all().len(), ADDRESSES);
    }
}
