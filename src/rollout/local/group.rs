//! The instances of one release: a slot for each place of its formation.

use super::machine::Guest;
use crate::fault::Failure;
use crate::runtime::RunnableRelease;
use crate::status::{ExitReason, InstanceState, InstanceStatus};
use hythe_model::{InstanceId, Place, ProcessType, ReleaseNumber, ToolName, Upstream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Whether a group's instances are to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// They are.
    No,
    /// They finish their requests, then stop.
    Drain,
    /// They stop at once.
    Now,
}

/// Where the instance of a slot stands.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// To be started later.
    Planned,
    /// Started or being started.
    Starting,
    /// Ready.
    Ready,
    /// To be started again at this time.
    Crashed(jiff::Timestamp),
    /// Told to stop.
    Stopping,
    /// Never got ready and is not started again.
    Failed(Failure),
    /// Stopped.
    Gone,
}

/// What is known of a slot.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) id: InstanceId,
    pub(crate) stage: Stage,
    pub(crate) since: jiff::Timestamp,
    pub(crate) restarts: u32,
    pub(crate) last_exit: Option<ExitReason>,
    pub(crate) guest: Option<Arc<dyn Guest>>,
    /// Whether it is a part of its release that comes first, and the rest has not gone live.
    pub(crate) canary: bool,
}

impl View {
    fn status(&self) -> Option<InstanceStatus> {
        let state = match &self.stage {
            Stage::Starting => InstanceState::Starting,
            Stage::Ready => InstanceState::Ready,
            Stage::Crashed(retry_at) => InstanceState::Crashed { retry_at: *retry_at },
            Stage::Stopping => InstanceState::Stopping,
            Stage::Planned | Stage::Failed(_) | Stage::Gone => return None,
        };
        Some(InstanceStatus {
            id: self.id.clone(),
            state,
            since: self.since,
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            canary: self.canary,
        })
    }

    /// Whether nothing of it runs.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Planned | Stage::Gone | Stage::Failed(_))
    }
}

/// One place of a formation.
pub(crate) struct Slot {
    view: watch::Sender<View>,
}

impl Slot {
    fn new(id: InstanceId) -> Self {
        let view = View {
            id,
            stage: Stage::Planned,
            since: jiff::Timestamp::now(),
            restarts: 0,
            last_exit: None,
            guest: None,
            canary: false,
        };
        Self { view: watch::Sender::new(view) }
    }

    /// What is known now.
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Changes what is known.
    pub(crate) fn update(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(change);
    }

    /// Moves to a stage.
    pub(crate) fn enter(&self, stage: Stage) {
        self.update(|view| {
            view.stage = stage;
            view.since = jiff::Timestamp::now();
        });
    }

    /// Leaves off being planned: somebody looks after it from now on.
    pub(crate) fn take_up(&self) {
        if matches!(self.view.borrow().stage, Stage::Planned) {
            self.enter(Stage::Starting);
        }
    }

    /// Waits until this holds of what is known.
    pub(crate) async fn until(&self, holds: impl FnMut(&View) -> bool) -> View {
        let mut seen = self.view.subscribe();
        match seen.wait_for(holds).await {
            Ok(view) => view.clone(),
            // The sender lives in `self`.
            Err(_) => self.view(),
        }
    }
}

/// The instances of one release.
pub(crate) struct Group {
    /// What they run.
    pub(crate) release: RunnableRelease,
    /// A slot each.
    pub(crate) slots: Vec<Arc<Slot>>,
    /// Cancelled when the candidate was switched to or abandoned.
    pub(crate) settled: CancellationToken,
    /// Whether it takes traffic beside what is live.
    shares: AtomicBool,
    stop: watch::Sender<Stop>,
}

impl Group {
    /// Slots for a release's formation; `attempt` numbers the instance that comes next in a place.
    pub(crate) fn new(
        release: RunnableRelease,
        mut attempt: impl FnMut(&ProcessType, &Place) -> u32,
    ) -> Self {
        let (tool, number) = (&release.release.tool, release.release.number);
        let mut slots = Vec::new();
        for (process, count) in &release.release.formation.0 {
            for index in 1..=*count {
                let place = Place::Number(index);
                let attempt = attempt(process, &place);
                let (tool, process) = (tool.clone(), process.clone());
                let id = InstanceId { tool, release: number, process, place, attempt };
                slots.push(Arc::new(Slot::new(id)));
            }
        }
        let (settled, stop) = (CancellationToken::new(), watch::Sender::new(Stop::No));
        Self { release, slots, settled, shares: AtomicBool::new(false), stop }
    }

    /// Its tool.
    pub(crate) fn tool(&self) -> &ToolName {
        &self.release.release.tool
    }

    /// Its release.
    pub(crate) fn number(&self) -> ReleaseNumber {
        self.release.release.number
    }

    /// The slots of its web instances.
    pub(crate) fn web(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.iter().filter(|slot| slot.view.borrow().id.process.is_web())
    }

    /// Has it take traffic beside what is live, or no more.
    pub(crate) fn share(&self, shares: bool) {
        self.shares.store(shares, Ordering::SeqCst);
    }

    /// Whether it takes traffic beside what is live.
    pub(crate) fn shares(&self) -> bool {
        self.shares.load(Ordering::SeqCst)
    }

    /// Tells the instances to stop; a harder way replaces a softer one, never the other way round.
    pub(crate) fn stop(&self, how: Stop) {
        self.stop.send_if_modified(|now| {
            let harder = how > *now;
            *now = how.max(*now);
            harder
        });
    }

    /// Follows [`Group::stop`].
    pub(crate) fn stopping(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    /// Returns when nothing of it runs any more.
    pub(crate) async fn gone(&self) {
        for slot in &self.slots {
            slot.until(View::is_over).await;
        }
    }

    /// Web instances that are ready.
    pub(crate) fn upstreams(&self) -> Vec<Upstream> {
        let ready = |view: &View| view.id.process.is_web() && matches!(view.stage, Stage::Ready);
        let port = self.release.settings.port;
        let views = self.slots.iter().map(|slot| slot.view()).filter(ready);
        views.map(|view| Upstream { instance: view.id, port }).collect()
    }

    /// What people see of it.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = InstanceStatus> {
        self.slots.iter().filter_map(|slot| slot.view().status())
    }

    /// The guest of an instance, where it runs.
    pub(crate) fn guest(&self, instance: &InstanceId) -> Option<Arc<dyn Guest>> {
        let view = self.slots.iter().map(|slot| slot.view()).find(|view| view.id == *instance)?;
        view.guest
    }
}
