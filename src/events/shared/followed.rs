//! Who follows which log, and one look at all of them for all who do.
//!
//! Whatever is written anywhere wakes it, and it asks the store about the logs that are followed here and no others, once for all
//! their readers.

use hythe_store::{LogReach, Store};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long it waits without looking: it may not have been told.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks: what comes in this time is seen by one.
const PAUSE: Duration = Duration::from_millis(50);

/// How far a log has come; `None` where it is not there, or not any more.
pub(super) type Reach = Option<LogReach>;

pub(super) struct Followed {
    store: Store,
    logs: Mutex<HashMap<String, watch::Sender<Reach>>>,
    /// There is another reader.
    came: Notify,
}

impl Followed {
    pub(super) fn new(store: Store) -> Arc<Self> {
        Arc::new(Self { store, logs: Mutex::default(), came: Notify::new() })
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Reach>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how far a log comes, until the receiver is dropped. It begins with nothing at all and is right a moment later.
    pub(super) fn follow(self: &Arc<Self>, log: &str) -> watch::Receiver<Reach> {
        let mut logs = self.logs();
        let is_first = logs.is_empty();
        let sender =
            logs.entry(log.to_owned()).or_insert_with(|| watch::Sender::new(Some(LogReach::default())));
        let receiver = sender.subscribe();
        drop(logs);
        if is_first {
            tokio::spawn(self.clone().look());
        }
        self.came.notify_one();
        receiver
    }

    /// The logs that are followed; none where this was the last look.
    fn names(&self) -> Vec<String> {
        let mut logs = self.logs();
        logs.retain(|_, sender| sender.receiver_count() > 0);
        logs.keys().cloned().collect()
    }

    /// Looks until nobody follows any more.
    async fn look(self: Arc<Self>) {
        let mut changes = self.store.log_changes();
        loop {
            let names = self.names();
            if names.is_empty() {
                return;
            }
            match self.store.logs_reached(names.clone()).await {
                Ok(reached) => {
                    let logs = self.logs();
                    for (name, sender) in logs.iter().filter(|(name, _)| names.contains(name)) {
                        let reach = reached.get(name).copied();
                        sender.send_if_modified(|told| std::mem::replace(told, reach) != reach);
                    }
                }
                Err(error) => tracing::warn!(%error, "logs that are followed could not be looked at"),
            }
            tokio::select! {
                () = changes.changed() => {}
                () = self.came.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
