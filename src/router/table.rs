//! The route table as requests read it: each tool with its instances, their pools and their counts.
//!
//! Enter at [`View::target`]. Every connection keeps the table and the target it used last, and asks the channel's
//! version, an atomic read, before each request; only a new target takes a lock. [`Tables::tend`] runs beside and
//! drops what left the table.

use crate::backend::Backend;
use crate::clients::{Clients, Share, Turn};
use crate::{InFlight, RouterSettings};
use hythe_model::{InstanceId, Route, RouteTable, ToolName};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often idle connections are looked at.
const TENDING: Duration = Duration::from_secs(2);

/// A tool and where its requests go.
#[derive(Debug)]
pub(crate) struct Target {
    /// The tool.
    pub(crate) tool: ToolName,
    /// Its route.
    pub(crate) route: Arc<Route>,
    backends: Vec<Arc<Backend>>,
    turn: AtomicUsize,
    /// The same from release to release.
    clients: Arc<Clients>,
}

/// Whom a request goes to.
#[derive(Debug)]
pub(crate) enum Pick {
    /// This instance; the request is counted in it.
    Instance(Pass),
    /// Every instance has as many requests as it may.
    Overloaded,
    /// Every instance is leaving: there is a newer table.
    Leaving,
}

/// A request's place in the count of an instance; given back when dropped.
#[derive(Debug)]
pub(crate) struct Pass(pub(crate) Arc<Backend>);

impl Pass {
    fn enter(backend: &Arc<Backend>) -> Option<Self> {
        backend.gauge.enter().then(|| Self(backend.clone()))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.gauge.leave();
    }
}

impl Target {
    /// The instance with the fewest requests under way; equal ones take turns, those in `tried` come last.
    pub(crate) fn pick(&self, most: usize, tried: &[InstanceId]) -> Pick {
        if let [only] = self.backends.as_slice() {
            if only.gauge.count() >= most {
                return Pick::Overloaded;
            }
            return Pass::enter(only).map_or(Pick::Leaving, Pick::Instance);
        }
        let count = self.backends.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..count).map(|step| &self.backends[turn.wrapping_add(step) % count]);
        let mut weighed: Vec<_> =
            in_turn.map(|backend| (tried.contains(&backend.id), backend.gauge.count(), backend)).collect();
        weighed.sort_by_key(|(tried, requests, _)| (*tried, *requests));
        let full = weighed.iter().any(|(_, requests, _)| *requests >= most);
        let mut free = weighed.iter().filter(|(_, requests, _)| *requests < most);
        match free.find_map(|(_, _, backend)| Pass::enter(backend)) {
            Some(pass) => Pick::Instance(pass),
            None if full => Pick::Overloaded,
            None => Pick::Leaving,
        }
    }

    /// How many instances take its traffic.
    pub(crate) fn instances(&self) -> usize {
        self.backends.len()
    }
}

/// The channel, and what was made of it so far.
#[derive(Debug)]
pub(crate) struct Tables {
    routes: watch::Receiver<RouteTable>,
    targets: Mutex<HashMap<ToolName, Arc<Target>>>,
    in_flight: InFlight,
    idle_per_instance: usize,
    client_share: usize,
}

impl Tables {
    /// Tables from a channel.
    pub(crate) fn new(
        routes: watch::Receiver<RouteTable>,
        in_flight: InFlight,
        settings: &RouterSettings,
    ) -> Self {
        let (idle_per_instance, client_share) = (settings.idle_per_instance, settings.client_share());
        Self { routes, targets: Mutex::default(), in_flight, idle_per_instance, client_share }
    }

    /// A reader of its own, for one connection of this client.
    pub(crate) fn view(self: &Arc<Self>, client: IpAddr) -> View {
        let mut routes = self.routes.clone();
        let table = routes.borrow_and_update().clone();
        View { tables: self.clone(), client, seen: Mutex::new(Seen { routes, table, last: None }) }
    }

    /// The target of a tool by the newest table.
    fn target(&self, tool: &str) -> Option<Arc<Target>> {
        let mut targets = self.lock();
        let route = self.routes.borrow().get(tool).cloned();
        let old = targets.get(tool);
        match (route, old) {
            (Some(route), Some(old)) if Arc::ptr_eq(&route, &old.route) => Some(old.clone()),
            (Some(route), old) => {
                let name = tool.parse().ok()?;
                let next = Arc::new(self.made(name, route, old));
                retire_all_but(old, Some(&next));
                targets.insert(next.tool.clone(), next.clone());
                Some(next)
            }
            (None, old) => {
                retire_all_but(old, None);
                targets.remove(tool);
                None
            }
        }
    }

    fn made(&self, tool: ToolName, route: Arc<Route>, old: Option<&Arc<Target>>) -> Target {
        let upstreams = match &*route {
            Route::Live { upstreams, .. } => upstreams.as_slice(),
            _ => &[],
        };
        let known = old.map(|old| old.backends.as_slice()).unwrap_or_default();
        let backends = upstreams.iter().map(|up| {
            let same = known.iter().find(|old| old.id == up.instance && old.port == up.port);
            same.cloned().unwrap_or_else(|| {
                let gauge = self.in_flight.gauge(&up.instance);
                Arc::new(Backend::new(up.instance.clone(), up.port, gauge, self.idle_per_instance))
            })
        });
        let backends = backends.collect();
        let clients = old.map(|old| old.clients.clone()).unwrap_or_default();
        Target { tool, route, backends, turn: AtomicUsize::new(0), clients }
    }

    /// Follows the channel and drops idle connections; returns when the channel has closed.
    pub(crate) async fn tend(&self) {
        let mut routes = self.routes.clone();
        loop {
            if let Ok(Err(_closed)) = tokio::time::timeout(TENDING, routes.changed()).await {
                return;
            }
            let tools: Vec<_> = self.lock().keys().cloned().collect();
            let targets: Vec<_> = tools.iter().filter_map(|tool| self.target(tool.as_str())).collect();
            let backends = || targets.iter().flat_map(|target| &target.backends);
            backends().for_each(|backend| backend.drop_stale());
            for target in &targets {
                target.clients.forget_gone();
            }
            self.in_flight.retain(&backends().map(|backend| &backend.id).collect::<HashSet<_>>());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ToolName, Arc<Target>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn retire_all_but(old: Option<&Arc<Target>>, next: Option<&Arc<Target>>) {
    let stays = |backend: &Arc<Backend>| {
        next.is_some_and(|next| next.backends.iter().any(|other| Arc::ptr_eq(backend, other)))
    };
    let old = old.map(|old| old.backends.as_slice()).unwrap_or_default();
    old.iter().filter(|backend| !stays(backend)).for_each(|backend| backend.retire());
}

/// One connection's reading of the table.
#[derive(Debug)]
pub(crate) struct View {
    tables: Arc<Tables>,
    client: IpAddr,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    routes: watch::Receiver<RouteTable>,
    table: RouteTable,
    /// The target used last, and the client's share of it.
    last: Option<(Arc<Target>, Arc<Share>)>,
}

impl View {
    /// The target of a tool by the newest table.
    pub(crate) fn target(&self, tool: &str) -> Option<Arc<Target>> {
        self.with(tool, |target, _| target.clone())
    }

    /// The target of a tool for a new request, which has a turn unless the client has as many requests there as it may.
    pub(crate) fn ask(&self, tool: &str) -> Option<(Arc<Target>, Option<Turn>)> {
        let most = self.tables.client_share;
        self.with(tool, |target, share| (target.clone(), Turn::enter(share, most)))
    }

    fn with<T>(&self, tool: &str, then: impl FnOnce(&Arc<Target>, &Arc<Share>) -> T) -> Option<T> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &mut *seen;
        if seen.routes.has_changed().unwrap_or(false) {
            seen.table = seen.routes.borrow_and_update().clone();
        }
        let route = seen.table.get(tool)?;
        let fits =
            |(last, _): &(Arc<Target>, _)| Arc::ptr_eq(&last.route, route) && last.tool.as_str() == tool;
        if !seen.last.as_ref().is_some_and(fits) {
            seen.last = self.tables.target(tool).map(|target| {
                let share = target.clients.share(self.client);
                (target, share)
            });
        }
        seen.last.as_ref().map(|(target, share)| then(target, share))
    }

    /// Returns when the tool's route is no longer the one of `target`.
    pub(crate) async fn changed(&self, target: &Target) {
        let mut routes = self.tables.routes.clone();
        let same = |table: &RouteTable| {
            table.get(target.tool.as_str()).is_some_and(|route| Arc::ptr_eq(route, &target.route))
        };
        if routes.wait_for(|table| !same(table)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
