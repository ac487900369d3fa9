//! Who is connected, counted: strangers by address, holders of a key in all and by key.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts of connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Those that have proven no key yet.
    strangers: usize,
    by_address: HashMap<IpAddr, usize>,
    holders: usize,
    by_key: HashMap<String, usize>,
}

/// What a connection counts as.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Stranger(IpAddr),
    Holder(String),
}

impl Counts {
    /// Counts one in; how many there are of its kind, and of these of the same address or key.
    fn add(&mut self, standing: &Standing) -> (usize, usize) {
        match standing {
            Standing::Stranger(address) => {
                self.strangers += 1;
                let count = self.by_address.entry(*address).or_default();
                *count += 1;
                (self.strangers, *count)
            }
            Standing::Holder(key) => {
                self.holders += 1;
                let count = self.by_key.entry(key.clone()).or_default();
                *count += 1;
                (self.holders, *count)
            }
        }
    }

    fn remove(&mut self, standing: &Standing) {
        match standing {
            Standing::Stranger(address) => {
                self.strangers -= 1;
                count_down(&mut self.by_address, address);
            }
            Standing::Holder(key) => {
                self.holders -= 1;
                count_down(&mut self.by_key, key);
            }
        }
    }
}

fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// A counted connection; it is counted out when this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    connections: Arc<Connections>,
    standing: Standing,
}

impl Connections {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a stranger in; how many strangers there are now, and how many of this address.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> (Counted, usize, usize) {
        let standing = Standing::Stranger(address);
        let (all, same) = self.counts().add(&standing);
        (Counted { connections: Arc::clone(self), standing }, all, same)
    }
}

impl Counted {
    /// Counts the connection as one of a key's; how many there are of holders now, and of this key.
    pub(crate) fn name(&mut self, fingerprint: &str) -> (usize, usize) {
        let next = Standing::Holder(fingerprint.to_owned());
        let mut counts = self.connections.counts();
        counts.remove(&self.standing);
        let now = counts.add(&next);
        drop(counts);
        self.standing = next;
        now
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.counts().remove(&self.standing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_connections() {
        let connections = Arc::new(Connections::default());
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let (mut first, all, same) = connections.enter(address(1));
        assert_eq!((all, same), (1, 1));
        let (mut second, all, same) = connections.enter(address(1));
        assert_eq!((all, same), (2, 2));
        let (third, all, same) = connections.enter(address(2));
        assert_eq!((all, same), (3, 1));
        assert_eq!((first.name("k"), second.name("k"), second.name("k")), ((1, 1), (2, 2), (2, 2)));
        let (fourth, all, same) = connections.enter(address(1));
        assert_eq!((all, same), (2, 1), "holders are no strangers");
        drop((first, fourth));
        assert_eq!(second.name("k"), (1, 1));
        drop((second, third));
        let counts = connections.counts();
        assert!(counts.strangers == 0 && counts.holders == 0);
        assert!(counts.by_key.is_empty() && counts.by_address.is_empty());
    }
}
