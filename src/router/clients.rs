//! How many requests each client has under way in a tool, so that none can take all of its places.

use crate::guard::household;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The clients of one tool.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<HashMap<IpAddr, Arc<Share>>>);

/// One client's requests under way. Its connections keep it at hand, so that a request takes no lock.
#[derive(Debug, Default)]
pub(crate) struct Share(AtomicUsize);

/// A request's place among its client's; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Share>);

impl Clients {
    /// The share of a client; addresses of one subscriber have one together.
    pub(crate) fn share(&self, client: IpAddr) -> Arc<Share> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shares.entry(household(client)).or_default().clone()
    }

    /// Forgets clients without a connection.
    pub(crate) fn forget_gone(&self) {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, share| Arc::strong_count(share) > 1);
    }
}

impl Turn {
    /// A place, where the client has less than `most`.
    pub(crate) fn enter(share: &Arc<Share>, most: usize) -> Option<Self> {
        let turn = Self(share.clone());
        (share.0.fetch_add(1, Ordering::Relaxed) < most).then_some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_share_and_is_forgotten_with_its_connections() {
        let clients = Clients::default();
        let share = |client: &str| clients.share(client.parse().unwrap());
        let first = Turn::enter(&share("192.0.2.1"), 2);
        let second = Turn::enter(&share("192.0.2.1"), 2);
        assert!(first.is_some() && second.is_some());
        assert!(Turn::enter(&share("192.0.2.1"), 2).is_none());
        assert!(Turn::enter(&share("192.0.2.2"), 2).is_some());
        clients.forget_gone();
        assert!(Turn::enter(&share("192.0.2.1"), 2).is_none(), "forgotten with requests under way");
        drop(first);
        assert!(Turn::enter(&share("192.0.2.1"), 2).is_some());
        drop(second);
        clients.forget_gone();
        assert!(clients.0.lock().unwrap().is_empty());
    }
}
