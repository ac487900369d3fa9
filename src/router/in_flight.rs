//! Requests under way and requests answered, by instance: the router counts, the runtime waits for none and looks how a canary does.
//!
//! Enter at [`InFlight::drained`]. Closing an instance and entering it race: whoever enters counts first and looks at
//! the door second, so that a request is either seen by the one who waits, or turns back and takes the new route.

use hythe_model::InstanceId;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a gauge outlives its instance's place in the table: longer than anybody holds an old table.
const KEPT: Duration = Duration::from_mins(1);

/// Requests under way, by instance. Cheap to clone; router and runtime share one.
#[derive(Debug, Clone, Default)]
pub struct InFlight {
    gauges: Arc<Mutex<HashMap<InstanceId, Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    gauge: Arc<Gauge>,
    absent_since: Option<Instant>,
}

/// The count of one instance.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    count: AtomicUsize,
    closed: AtomicBool,
    emptied: Notify,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl InFlight {
    /// Nothing under way.
    pub fn new() -> Self {
        Self::default()
    }

    /// Closes an instance to new requests and returns when none is under way.
    ///
    /// Take the instance out of the route first: a request that finds it closed looks the route up again.
    pub async fn drained(&self, instance: &InstanceId) {
        let gauge = self.gauge(instance);
        gauge.closed.store(true, Ordering::SeqCst);
        loop {
            let mut emptied = std::pin::pin!(gauge.emptied.notified());
            emptied.as_mut().enable();
            if gauge.count() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Requests under way in an instance now.
    pub fn count(&self, instance: &InstanceId) -> usize {
        self.lock().get(instance).map_or(0, |entry| entry.gauge.count())
    }

    /// Requests that an instance has answered, and how many of them with a status of 500 and above or not at all.
    pub fn answered(&self, instance: &InstanceId) -> (u64, u64) {
        self.lock().get(instance).map_or((0, 0), |entry| entry.gauge.answers())
    }

    /// The gauge of an instance, made where there is none.
    pub(crate) fn gauge(&self, instance: &InstanceId) -> Arc<Gauge> {
        let mut gauges = self.lock();
        match gauges.get_mut(instance) {
            Some(entry) => {
                entry.absent_since = None;
                entry.gauge.clone()
            }
            None => gauges.entry(instance.clone()).or_default().gauge.clone(),
        }
    }

    /// Forgets instances that left the table a while ago.
    pub(crate) fn retain(&self, present: &HashSet<&InstanceId>) {
        let now = Instant::now();
        self.lock().retain(|instance, entry| {
            if present.contains(instance) {
                return true;
            }
            let since = *entry.absent_since.get_or_insert(now);
            now.duration_since(since) < KEPT || entry.gauge.count() > 0
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Entry>> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gauge {
    /// Counts one request in; false, and not counted, where the instance is closed.
    pub(crate) fn enter(&self) -> bool {
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            self.leave();
            return false;
        }
        true
    }

    /// Counts one request out.
    pub(crate) fn leave(&self) {
        if self.count.fetch_sub(1, Ordering::SeqCst) == 1 && self.closed.load(Ordering::SeqCst) {
            self.emptied.notify_waiters();
        }
    }

    /// Counts a request as answered.
    pub(crate) fn answer(&self, well: bool) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if !well {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answers(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Requests under way.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hythe_model::{Place, ReleaseNumber};

    fn instance(index: u32) -> InstanceId {
        let (tool, process) = ("weather".parse().unwrap(), hythe_model::ProcessType::web());
        InstanceId { tool, release: ReleaseNumber(1), process, place: Place::Number(index), attempt: 0 }
    }

    #[tokio::test]
    async fn draining_waits_for_the_last_request_and_lets_no_other_in() {
        let flights = InFlight::new();
        let gauge = flights.gauge(&instance(1));
        assert!(gauge.enter() && gauge.enter());
        let waiting = tokio::spawn({
            let flights = flights.clone();
            async move { flights.drained(&instance(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!gauge.enter());
        gauge.leave();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(flights.count(&instance(1)), 1);
        gauge.leave();
        waiting.await.unwrap();
        assert_eq!(flights.count(&instance(1)), 0);
    }

    #[tokio::test]
    async fn an_instance_that_was_never_entered_is_closed_as_well() {
        let flights = InFlight::new();
        flights.drained(&instance(1)).await;
        assert!(!flights.gauge(&instance(1)).enter());
        assert!(flights.gauge(&instance(2)).enter());
    }

    #[tokio::test(start_paused = true)]
    async fn gauges_of_gone_instances_are_forgotten_late() {
        let flights = InFlight::new();
        flights.drained(&instance(1)).await;
        flights.retain(&HashSet::new());
        assert!(!flights.gauge(&instance(1)).enter(), "still closed: somebody may hold the old table");
        flights.retain(&HashSet::new());
        tokio::time::advance(KEPT * 2).await;
        flights.retain(&HashSet::new());
        assert!(flights.lock().is_empty());
    }
}
