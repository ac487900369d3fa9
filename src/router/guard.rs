//! Who comes in: counts of connections, and the first bytes of a plain one.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Counts connections, in all and of each client.
#[derive(Debug)]
pub(crate) struct Admission {
    most: usize,
    most_per_client: usize,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    client: IpAddr,
    counts: Arc<Mutex<Counts>>,
}

impl Admission {
    /// At most so many connections.
    pub(crate) fn new(most: usize, most_per_client: usize) -> Self {
        Self { most, most_per_client, counts: Arc::default() }
    }

    /// A place for a client, where there is one.
    pub(crate) fn enter(&self, client: IpAddr) -> Option<Place> {
        let client = household(client);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.by_client.get(&client).copied().unwrap_or(0);
        if counts.all >= self.most || own >= self.most_per_client {
            return None;
        }
        counts.all += 1;
        counts.by_client.insert(client, own + 1);
        Some(Place { client, counts: self.counts.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(own) = counts.by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                counts.by_client.remove(&self.client);
            }
        }
    }
}

/// An IPv4 address, or the 64-bit prefix that one subscriber has of IPv6.
pub(crate) fn household(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Answers a connection too many without reading from it.
pub(crate) fn turn_away(stream: &TcpStream) {
    let text = "There are too many connections at the moment.\nAsk again in a few seconds.\n";
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nhythe-fault: router/too-many-connections\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    let _ = stream.try_write(answer.as_bytes());
}

/// Whether a plain connection begins as HTTP/2 does (RFC 9113, 3.3). Waits for its first bytes and leaves them there.
pub(crate) async fn speaks_h2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[..count] != PREFACE[..count] {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        // Some of the preface is there and peeking does not wait for the rest.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_client() {
        let admission = Admission::new(3, 2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = admission.enter(ip("192.0.2.1")).unwrap();
        let _second = admission.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert!(admission.enter(ip("192.0.2.1")).is_none());
        let _third = admission.enter(ip("2001:db8::1")).unwrap();
        assert!(admission.enter(ip("192.0.2.9")).is_none());
        drop(first);
        assert!(admission.enter(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn a_household_of_ipv6_counts_as_one() {
        let admission = Admission::new(9, 1);
        let _one = admission.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(admission.enter("2001:db8::2".parse().unwrap()).is_none());
        assert!(admission.enter("2001:db8:0:1::2".parse().unwrap()).is_some());
    }
}
