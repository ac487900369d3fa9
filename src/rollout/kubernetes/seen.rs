//! What the watches have seen, tool by tool, and the route table that follows from it.

use super::desired::CANARY;
use super::view::{DeploymentView, PodView, Stage};
use crate::status::{InstanceState, InstanceStatus};
use hythe_model::{InstanceId, Route, RouteTable, ToolName, Upstream};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The longest wait that a node makes between two starts of a crashing container.
const LONGEST_BACKOFF: i64 = 300;

/// Everything seen, and where traffic goes because of it. A change touches its own tool only.
pub(crate) struct Seen {
    port: u16,
    tools: Mutex<HashMap<ToolName, ToolView>>,
    routes: watch::Sender<RouteTable>,
    /// Tools that have a canary in their route.
    canaries: watch::Sender<HashSet<ToolName>>,
}

/// The objects of one kind that are known of a tool, by name.
pub(crate) type Part<T> = fn(&mut ToolView) -> &mut BTreeMap<String, T>;

/// One tool.
#[derive(Debug, Clone, Default)]
pub(crate) struct ToolView {
    /// Whether the platform knows of it; objects may be seen before.
    pub(crate) declared: bool,
    /// By name.
    pub(crate) pods: BTreeMap<String, Arc<PodView>>,
    /// By the name of their process type.
    pub(crate) deployments: BTreeMap<String, DeploymentView>,
    /// Names of pods that take traffic, by slice.
    pub(crate) slices: BTreeMap<String, Vec<String>>,
    /// Told at each change.
    pub(crate) changed: watch::Sender<()>,
}

impl ToolView {
    pub(crate) fn pods(&mut self) -> &mut BTreeMap<String, Arc<PodView>> {
        &mut self.pods
    }

    pub(crate) fn deployments(&mut self) -> &mut BTreeMap<String, DeploymentView> {
        &mut self.deployments
    }

    pub(crate) fn slices(&mut self) -> &mut BTreeMap<String, Vec<String>> {
        &mut self.slices
    }

    /// Every pod.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &PodView> {
        self.pods.values().map(Arc::as_ref)
    }

    /// Pods of the formation; the others are runs of jobs. Those that their nodes have given up are among them.
    pub(crate) fn formation(&self) -> impl DoubleEndedIterator<Item = &PodView> {
        self.all().filter(|pod| pod.id.job().is_none())
    }

    /// The same without those: others have taken their places.
    pub(crate) fn instances(&self) -> impl DoubleEndedIterator<Item = &PodView> {
        self.formation().filter(|pod| pod.given_up.is_none())
    }

    /// Pods that take traffic.
    pub(crate) fn in_route(&self) -> impl Iterator<Item = &PodView> {
        let names: HashSet<_> = self.slices.values().flatten().collect();
        self.all().filter(move |pod| names.contains(&pod.name))
    }

    /// Those in the route. Where slices name pods and none that is known, one of the two watches is behind, as after a list: what was
    /// ready serves meanwhile.
    fn serving(&self) -> Vec<&PodView> {
        let routed: Vec<_> = self.in_route().collect();
        if !routed.is_empty() || self.slices.values().all(Vec::is_empty) {
            return routed;
        }
        self.instances().filter(|pod| pod.id.process.is_web() && pod.ready && !pod.leaving).collect()
    }

    fn is_gone(&self) -> bool {
        !self.declared && self.pods.is_empty() && self.deployments.is_empty() && self.slices.is_empty()
    }

    fn route(&self, port: u16) -> Option<Route> {
        if !self.declared {
            return None;
        }
        let serving: Vec<_> = self.serving().into_iter().filter(|pod| pod.address.is_some()).collect();
        let release = serving.iter().map(|pod| pod.id.release).max();
        if let Some(release) = release {
            let upstreams = serving.iter().map(|pod| Upstream { instance: pod.id.clone(), port }).collect();
            return Some(Route::Live { release, upstreams });
        }
        let web = self.instances().filter(|pod| pod.id.process.is_web() && !pod.leaving);
        let wanted = self.deployments.get("web").map_or(0, |deployment| deployment.wanted);
        if wanted == 0 {
            return Some(Route::Empty);
        }
        let mut crashed = web.filter_map(|pod| match (&pod.stage, &pod.last_exit) {
            (Stage::Ended(exit), _) | (_, Some(exit)) => Some(exit.text()),
            _ => None,
        });
        Some(crashed.next_back().map_or(Route::Starting, |reason| Route::Crashed { reason }))
    }
}

impl Seen {
    /// Nothing yet; web processes listen on `port`.
    pub(crate) fn new(port: u16) -> Self {
        let (routes, canaries) = (watch::Sender::new(RouteTable::default()), watch::Sender::default());
        Self { port, tools: Mutex::default(), routes, canaries }
    }

    fn tools(&self) -> MutexGuard<'_, HashMap<ToolName, ToolView>> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of one tool, and its route.
    pub(crate) fn update(&self, tool: &ToolName, change: impl FnOnce(&mut ToolView)) {
        let mut tools = self.tools();
        let view = tools.entry(tool.clone()).or_default();
        change(view);
        let route = view.route(self.port);
        let has_canary = view.in_route().any(|pod| pod.set == CANARY);
        self.canaries.send_if_modified(|tools| {
            if has_canary { tools.insert(tool.clone()) } else { tools.remove(tool) }
        });
        view.changed.send_replace(());
        if view.is_gone() {
            tools.remove(tool);
        }
        // Under the lock, so that an older route never follows a newer one.
        self.routes.send_if_modified(|table| {
            let differs = table.get(tool.as_str()).map(AsRef::as_ref) != route.as_ref();
            if differs {
                table.set(tool.clone(), route);
            }
            differs
        });
    }

    /// Forgets the objects of a part that a new list did not show, and answers them; `keep` is asked with the tool and the
    /// object's name.
    pub(crate) fn retain<T>(&self, part: Part<T>, keep: impl Fn(&ToolName, &str) -> bool) -> Vec<T> {
        let stale: Vec<(ToolName, Vec<String>)> = {
            let mut tools = self.tools();
            let stale = tools.iter_mut().map(|(tool, view)| {
                let names = part(view).keys().filter(|name| !keep(tool, name)).cloned();
                (tool.clone(), names.collect::<Vec<_>>())
            });
            stale.filter(|(_, names)| !names.is_empty()).collect()
        };
        let mut gone = Vec::new();
        for (tool, names) in stale {
            self.update(&tool, |view| gone.extend(names.iter().filter_map(|name| part(view).remove(name))));
        }
        gone
    }

    /// What is known of a tool now.
    pub(crate) fn tool(&self, tool: &ToolName) -> ToolView {
        self.tools().get(tool).cloned().unwrap_or_default()
    }

    /// Changes of a tool from now on.
    pub(crate) fn changes(&self, tool: &ToolName) -> watch::Receiver<()> {
        self.tools().entry(tool.clone()).or_default().changed.subscribe()
    }

    /// Where traffic goes.
    pub(crate) fn routes(&self) -> watch::Receiver<RouteTable> {
        self.routes.subscribe()
    }

    /// Tools that have a canary in their route.
    pub(crate) fn canaries(&self) -> watch::Receiver<HashSet<ToolName>> {
        self.canaries.subscribe()
    }

    /// The address of an instance that is there.
    pub(crate) fn address(&self, instance: &InstanceId) -> Option<IpAddr> {
        let tools = self.tools();
        let pods = &tools.get(&instance.tool)?.pods;
        pods.values().find(|pod| pod.id == *instance)?.address
    }

    /// What people see of a tool's instances.
    pub(crate) fn instances(&self, tool: &ToolName) -> Vec<InstanceStatus> {
        let view = self.tool(tool);
        let mut all: Vec<_> = view.instances().map(status).collect();
        all.sort_by_key(|status| {
            let id = &status.id;
            let stops = matches!(status.state, InstanceState::Stopping);
            (stops, !id.process.is_web(), id.process.clone(), id.place.clone(), id.release)
        });
        all
    }

    /// A pod, as long as it is there.
    pub(crate) fn pod(&self, tool: &ToolName, name: &str) -> Option<Arc<PodView>> {
        self.tools().get(tool)?.pods.get(name).cloned()
    }

    /// All pods.
    pub(crate) fn pods(&self) -> Vec<Arc<PodView>> {
        self.tools().values().flat_map(|view| view.pods.values()).cloned().collect()
    }

    /// Image references of all pods.
    pub(crate) fn images(&self) -> HashSet<String> {
        let tools = self.tools();
        tools.values().flat_map(|view| view.pods.values()).filter_map(|pod| pod.image.clone()).collect()
    }
}

fn status(pod: &PodView) -> InstanceStatus {
    let state = match &pod.stage {
        _ if pod.leaving => InstanceState::Stopping,
        Stage::Running if pod.ready => InstanceState::Ready,
        Stage::Running => InstanceState::Starting,
        Stage::Waiting { reason, .. } if reason != "CrashLoopBackOff" => InstanceState::Starting,
        Stage::Waiting { .. } | Stage::Ended(_) => {
            let doubled = 10_i64.saturating_mul(1 << pod.restarts().min(5)).min(LONGEST_BACKOFF);
            InstanceState::Crashed { retry_at: pod.since + jiff::SignedDuration::from_secs(doubled) }
        }
    };
    let last_exit = match &pod.stage {
        Stage::Ended(exit) => Some(exit.clone()),
        _ => pod.last_exit.clone(),
    };
    InstanceStatus {
        id: pod.id.clone(),
        state,
        since: pod.since,
        restarts: pod.restarts(),
        last_exit,
        canary: pod.set == CANARY,
    }
}
