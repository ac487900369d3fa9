//! All tools of this machine: which release of each is live, which comes, which leaves.

use super::group::{Group, Slot, Stop};
use super::jobs::Jobs;
use super::machine::Machine;
use super::route::route;
use super::supervise::{Begin, Supervision, supervise};
use crate::one_off::{OneOff, OneOffSession};
use crate::runtime::{Candidate, RunnableRelease, Switched, Traffic};
use crate::status::{InstanceState, InstanceStatus};
use hythe_model::{Fault, InstanceId, Place, ProcessType, ReleaseNumber, RouteTable, ToolName};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The state of every tool, and the route table that follows from it.
pub(crate) struct Tools {
    pub(crate) machine: Arc<dyn Machine>,
    pub(super) traffic: Arc<dyn Traffic>,
    routes: watch::Sender<RouteTable>,
    states: Mutex<HashMap<ToolName, State>>,
    pub(super) jobs: Jobs,
    own: Weak<Self>,
    /// Ends supervision, not what is supervised.
    pub(super) end: CancellationToken,
}

impl Drop for Tools {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// One tool.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) live: Option<Arc<Group>>,
    pub(crate) coming: Vec<Arc<Group>>,
    leaving: Vec<Arc<Group>>,
    /// Names are used once: the next attempt of each place.
    attempts: HashMap<(ReleaseNumber, ProcessType, Place), u32>,
}

impl State {
    fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.live.iter().chain(&self.coming).chain(&self.leaving)
    }

    /// A group with names that were not used before. Of a release that ran under an earlier server not all names are
    /// known; but an instance is restarted once a second at most, so the release's age in seconds is above them all.
    pub(crate) fn group(&mut self, release: RunnableRelease, ran_before: bool) -> Arc<Group> {
        let number = release.release.number;
        let age = jiff::Timestamp::now().duration_since(release.release.created_at).as_secs();
        let first = if ran_before { u32::try_from(age).unwrap_or(0) } else { 0 };
        Arc::new(Group::new(release, |process, place| {
            let next = self.attempts.entry((number, process.clone(), place.clone())).or_default();
            let attempt = first.max(*next);
            *next = attempt + 1;
            attempt
        }))
    }

    /// Marks an instance's name as used.
    fn used(&mut self, instance: &InstanceId) {
        let place = (instance.release, instance.process.clone(), instance.place.clone());
        let next = self.attempts.entry(place).or_default();
        *next = (*next).max(instance.attempt + 1);
    }

    fn forget_leftovers(&mut self) {
        self.leaving.retain(|group| !group.slots.iter().all(|slot| slot.view().is_over()));
        let known: Vec<_> = self.groups().map(|group| group.number()).collect();
        self.attempts.retain(|(number, _, _), _| known.contains(number));
    }
}

impl Tools {
    /// No tools on this machine.
    pub(crate) fn new(machine: Arc<dyn Machine>, traffic: Arc<dyn Traffic>) -> Arc<Self> {
        let routes = watch::Sender::new(RouteTable::default());
        Arc::new_cyclic(|own| Self {
            machine,
            traffic,
            routes,
            states: Mutex::default(),
            jobs: Jobs::default(),
            own: own.clone(),
            end: CancellationToken::new(),
        })
    }

    /// Itself, for what must not keep it alive.
    pub(super) fn own(&self) -> Weak<Self> {
        self.own.clone()
    }

    pub(crate) fn states(&self) -> MutexGuard<'_, HashMap<ToolName, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the tool known.
    pub(crate) fn declare(&self, tool: &ToolName) {
        self.states().entry(tool.clone()).or_default();
        self.publish(tool);
    }

    /// Where traffic goes.
    pub(crate) fn routes(&self) -> watch::Receiver<RouteTable> {
        self.routes.subscribe()
    }

    /// Sends the tool's route where it changed. The lock is held meanwhile, so that an older state is never sent last.
    pub(crate) fn publish(&self, tool: &ToolName) {
        let states = self.states();
        let next = states.get(tool).map(|state| route(state.live.as_deref(), &state.coming));
        self.routes.send_if_modified(|table| {
            if table.get(tool.as_str()).map(|route| &**route) == next.as_ref() {
                return false;
            }
            table.set(tool.clone(), next);
            true
        });
    }

    /// Starts the supervision of a group's slot.
    pub(crate) fn occupy(&self, group: &Arc<Group>, slot: &Arc<Slot>, begin: Begin) {
        slot.take_up();
        let (tools, tool) = (self.own.clone(), group.tool().clone());
        let changed = move || {
            if let Some(tools) = tools.upgrade() {
                tools.publish(&tool);
            }
        };
        let supervision = Supervision {
            machine: self.machine.clone(),
            traffic: self.traffic.clone(),
            group: group.clone(),
            changed: Arc::new(changed),
        };
        let supervised = supervise(Arc::new(supervision), slot.clone(), begin);
        let end = self.end.clone();
        tokio::spawn(async move { end.run_until_cancelled(supervised).await });
    }

    /// Moves the route to a candidate.
    pub(crate) fn switch(&self, mut candidate: Candidate) -> Switched {
        candidate.disarm();
        let previous = {
            let mut states = self.states();
            let state = states.entry(candidate.tool.clone()).or_default();
            let place = state.coming.iter().position(|group| group.number() == candidate.release);
            let group = place.map(|place| state.coming.remove(place));
            if let Some(group) = &group {
                group.settled.cancel();
                group.slots.iter().for_each(|slot| slot.update(|view| view.canary = false));
                self.keep_time(group.release.clone());
            }
            let previous = std::mem::replace(&mut state.live, group);
            state.forget_leftovers();
            state.leaving.extend(previous.clone());
            previous
        };
        self.start_again(&candidate.tool);
        self.publish(&candidate.tool);
        if let Some(previous) = &previous {
            previous.stop(Stop::Drain);
            self.sweep(previous.clone());
        }
        Switched {
            release: candidate.release,
            instances: candidate.instances,
            previous: previous.map(|group| group.number()),
        }
    }

    /// What failed between the candidate's readiness and the switch is live now, and so is started again.
    fn start_again(&self, tool: &ToolName) {
        let Some(group) = self.states().get(tool).and_then(|state| state.live.clone()) else { return };
        for slot in group.slots.iter().filter(|slot| slot.view().is_over()) {
            slot.update(|view| view.id.attempt += 1);
            self.occupy(&group, slot, Begin::Start);
        }
    }

    /// Takes a leaving group out of the books when it is gone.
    fn sweep(&self, group: Arc<Group>) {
        let tools = self.own.clone();
        tokio::spawn(async move {
            group.gone().await;
            if let Some(tools) = tools.upgrade()
                && let Some(state) = tools.states().get_mut(group.tool())
            {
                state.forget_leftovers();
            }
        });
    }

    /// Ends a candidate.
    pub(crate) async fn abandon(&self, mut candidate: Candidate) {
        candidate.disarm();
        let group = {
            let states = self.states();
            let mut coming = states.get(&candidate.tool).into_iter().flat_map(|state| &state.coming);
            coming.rfind(|group| group.number() == candidate.release).cloned()
        };
        if let Some(group) = group {
            self.end_coming(&group).await;
        }
    }

    /// Ends a group that is not to go live and forgets it. One that took traffic finishes its requests in the background.
    pub(crate) async fn end_coming(&self, group: &Arc<Group>) {
        group.settled.cancel();
        let served = group.shares();
        if !served {
            group.stop(Stop::Now);
            group.gone().await;
        }
        if let Some(state) = self.states().get_mut(group.tool()) {
            state.coming.retain(|other| !Arc::ptr_eq(other, group));
            state.leaving.extend(served.then(|| group.clone()));
        }
        self.publish(group.tool());
        if served {
            group.stop(Stop::Drain);
            self.sweep(group.clone());
        }
    }

    /// Ends a candidate when its holder drops it.
    pub(crate) fn watch_over(&self, group: &Arc<Group>, dropped: CancellationToken) {
        let (tools, group) = (self.own.clone(), group.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = group.settled.cancelled() => return,
                () = dropped.cancelled() => {}
            }
            if let Some(tools) = tools.upgrade() {
                tools.end_coming(&group).await;
            }
        });
    }

    /// Marks the names of all that was found as used.
    pub(crate) fn name_found<'a>(&self, found: impl Iterator<Item = &'a InstanceId>) {
        let mut states = self.states();
        for id in found {
            states.entry(id.tool.clone()).or_default().used(id);
        }
    }

    /// Ends and forgets a tool.
    pub(crate) async fn stop_tool(&self, tool: &ToolName) {
        let state = self.states().remove(tool);
        self.publish(tool);
        let groups: Vec<_> = state.iter().flat_map(State::groups).cloned().collect();
        for group in &groups {
            group.settled.cancel();
            group.stop(Stop::Now);
        }
        for group in &groups {
            group.gone().await;
        }
        self.end_jobs(tool).await;
        self.machine.end_one_offs(tool).await;
    }

    /// The tool's instances; those that stop come last.
    pub(crate) fn instances(&self, tool: &ToolName) -> Vec<InstanceStatus> {
        let states = self.states();
        let groups = states.get(tool).into_iter().flat_map(State::groups);
        let mut all: Vec<_> = groups.flat_map(|group| group.statuses()).collect();
        let order = |status: &InstanceStatus| {
            let id = &status.id;
            let stops = matches!(status.state, InstanceState::Stopping);
            (stops, !id.process.is_web(), id.process.clone(), id.place.clone(), id.release)
        };
        all.sort_by_key(order);
        all
    }

    /// Connects to an instance.
    pub(crate) async fn dial(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream> {
        let guest = {
            let states = self.states();
            let mut groups = states.get(&instance.tool).into_iter().flat_map(State::groups);
            groups.find_map(|group| group.guest(instance))
        };
        let gone = || io::Error::new(io::ErrorKind::NotConnected, format!("{instance} does not run"));
        guest.ok_or_else(gone)?.dial(port).await
    }

    /// Starts a one-off process.
    pub(crate) async fn run_once(&self, run: OneOff) -> Result<OneOffSession, Fault> {
        self.machine.prepare(&run.release).await?;
        self.machine.run_once(run, CancellationToken::new()).await
    }
}
