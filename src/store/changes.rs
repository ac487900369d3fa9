//! Being woken when rows change.
//!
//! A file tells of every write of this process. A server tells of builds, releases and tools, whichever replica wrote them
//! (LISTEN and NOTIFY, by triggers). Neither tells of everything: what was written while a connection was away is told once,
//! by its return, and a write of another process to a file is not told at all. Whoever waits here asks the rows again, and
//! does so now and then without being woken.

use tokio::sync::watch;

/// Tells that rows may have changed.
#[derive(Debug, Clone)]
pub struct Changes(watch::Receiver<u64>);

impl Changes {
    pub(crate) fn new(receiver: watch::Receiver<u64>) -> Self {
        Self(receiver)
    }

    /// Waits until rows may have changed since the last call, or since this was made. Several changes wake once. For ever
    /// where the store is closed.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl crate::Store {
    /// Tells of changes from now on.
    pub fn changes(&self) -> Changes {
        self.db.changes()
    }

    /// Tells of new lines in logs, from now on.
    pub fn log_changes(&self) -> Changes {
        self.db.log_changes()
    }
}
