//! One instance as the router sees it: its count and its idle connections.

use crate::in_flight::Gauge;
use crate::upstream::Connection;
use hythe_model::InstanceId;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// How long an idle connection is kept for requests that can be asked again.
const IDLE: Duration = Duration::from_secs(30);
/// How long it is good for requests that cannot: servers close idle connections after two seconds at the earliest, and
/// a request on its way at that moment would be lost.
const IDLE_FOR_ALL: Duration = Duration::from_secs(1);

/// One instance.
pub(crate) struct Backend {
    /// Its name.
    pub(crate) id: InstanceId,
    /// The port it listens on.
    pub(crate) port: u16,
    /// Its requests under way.
    pub(crate) gauge: Arc<Gauge>,
    pool: Mutex<Pool>,
    most_idle: usize,
}

#[derive(Default)]
struct Pool {
    /// The one used last is at the end.
    idle: VecDeque<(Instant, Connection)>,
    retired: bool,
}

impl Pool {
    /// The connection used last, where that was less than `age` ago.
    fn newest(&mut self, now: Instant, age: Duration) -> Option<Connection> {
        let (since, _) = self.idle.back()?;
        if now.duration_since(*since) >= age {
            return None;
        }
        self.idle.pop_back().map(|(_, connection)| connection)
    }
}

impl Backend {
    /// An instance without connections.
    pub(crate) fn new(id: InstanceId, port: u16, gauge: Arc<Gauge>, most_idle: usize) -> Self {
        Self { id, port, gauge, pool: Mutex::default(), most_idle }
    }

    /// An idle connection that is still open, the one used last. `repeatable` says that the request may be asked twice.
    /// What is too old for this request stays for others: the next may be repeatable.
    pub(crate) fn checkout(
        &self,
        repeatable: bool,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Option<Connection> {
        let age = if repeatable { IDLE } else { IDLE_FOR_ALL };
        loop {
            let mut connection = self.lock().newest(now, age)?;
            if connection.is_free(cx) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request where the instance stays, in place of the oldest where there are enough.
    pub(crate) fn put_back(&self, connection: Connection) {
        let mut pool = self.lock();
        if pool.retired || self.most_idle == 0 {
            return;
        }
        if pool.idle.len() >= self.most_idle {
            pool.idle.pop_front();
        }
        pool.idle.push_back((Instant::now(), connection));
    }

    /// Closes idle connections for good: the instance left the route.
    pub(crate) fn retire(&self) {
        let mut pool = self.lock();
        pool.retired = true;
        pool.idle.clear();
    }

    /// Closes idle connections that are old or that the instance closed.
    pub(crate) fn drop_stale(&self) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut pool = self.lock();
        pool.idle.retain_mut(|(since, connection)| since.elapsed() < IDLE && connection.is_free(&mut cx));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("id", &self.id).field("port", &self.port).finish_non_exhaustive()
    }
}
