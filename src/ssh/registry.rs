//! Who is connected, counted: in all and by key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts of connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_key: HashMap<String, usize>,
}

/// A counted connection; it is counted out when this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    connections: Arc<Connections>,
    key: Option<String>,
}

impl Connections {
    /// Counts a connection in; says how many there are now.
    pub(crate) fn enter(self: &Arc<Self>) -> (Counted, usize) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all += 1;
        (Counted { connections: Arc::clone(self), key: None }, counts.all)
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn all(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Counted {
    /// Counts the connection to a key; says how many that key has now.
    pub(crate) fn name(&mut self, fingerprint: &str) -> usize {
        self.unname();
        let mut counts = self.connections.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.by_key.entry(fingerprint.to_owned()).or_default();
        *count += 1;
        self.key = Some(fingerprint.to_owned());
        *count
    }

    fn unname(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut counts = self.connections.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.by_key.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.by_key.remove(&key);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.unname();
        self.connections.counts.lock().unwrap_or_else(PoisonError::into_inner).all -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_connections() {
        let connections = Arc::new(Connections::default());
        let (mut first, one) = connections.enter();
        let (mut second, two) = connections.enter();
        assert_eq!((one, two), (1, 2));
        assert_eq!((first.name("k"), second.name("k"), second.name("k")), (1, 2, 2));
        drop(first);
        assert_eq!((connections.all(), second.name("k")), (1, 1));
        drop(second);
        assert!(connections.all() == 0 && connections.counts.lock().unwrap().by_key.is_empty());
    }
}
