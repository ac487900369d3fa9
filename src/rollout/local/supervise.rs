//! One place of a formation, kept occupied: start, readiness, crash, back-off, stop.
//!
//! Enter at [`supervise`]. A candidate's instances get one try each; once traffic has moved to them, or where the place
//! was found after a restart of the server, a crash is followed by another start.

use super::group::{Group, Slot, Stage, Stop};
use super::machine::{Guest, Machine, shut_down};
use crate::backoff::Backoff;
use crate::fault::Failure;
use crate::runtime::Traffic;
use crate::settings::Readiness;
use crate::status::ExitReason;
use hythe_model::InstanceId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long a process without traffic must stay up to count as ready.
const SETTLING: Duration = Duration::from_secs(2);
/// The first wait between two looks at readiness; short, so that quick tools are quick.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LAST_LOOK: Duration = Duration::from_millis(250);
/// How long something that never served may take to stop.
const HURRY: Duration = Duration::from_secs(1);

/// What supervision works with.
pub(crate) struct Supervision {
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) traffic: Arc<dyn Traffic>,
    pub(crate) group: Arc<Group>,
    /// Called after each change that the route may depend on.
    pub(crate) changed: Arc<dyn Fn() + Send + Sync>,
}

/// How a place is taken up.
pub(crate) enum Begin {
    /// With a first instance that gets one try.
    Trial,
    /// With an instance that runs, and whether it is ready.
    Found(Arc<dyn Guest>, bool),
    /// With a new instance, and another if that one crashes.
    Start,
}

/// How an instance ended.
enum Ended {
    /// It was told to.
    Stopped,
    /// By itself, after having been ready so long.
    Crashed(ExitReason, Duration),
    /// Before it was ready.
    Failed(Failure),
}

/// Keeps a slot occupied until its group is told to stop.
pub(crate) async fn supervise(own: Arc<Supervision>, slot: Arc<Slot>, begin: Begin) {
    let mut stop = own.group.stopping();
    let mut backoff = Backoff::new(own.group.release.settings.backoff);
    let (mut found, mut trial) = match begin {
        Begin::Trial => (None, true),
        Begin::Found(guest, ready) => (Some((guest, ready)), false),
        Begin::Start => (None, false),
    };
    loop {
        let ended = own.one_life(&slot, &mut stop, found.take()).await;
        slot.update(|view| view.guest = None);
        let (exit, well) = match ended {
            Ended::Stopped => break own.enter(&slot, Stage::Gone),
            Ended::Failed(failure) if trial => break own.enter(&slot, Stage::Failed(failure)),
            // Well once is not enough for a release that takes no traffic yet.
            Ended::Crashed(exit, _) if !own.group.settled.is_cancelled() => {
                break own.enter(&slot, Stage::Failed(Failure::Exited(exit)));
            }
            Ended::Failed(failure) => (own.exit_of(failure), Duration::ZERO),
            Ended::Crashed(exit, well) => (exit, well),
        };
        trial = false;
        let wait = backoff.next(well);
        tracing::warn!(instance = %slot.view().id, exit = exit.text(), wait = ?wait, "an instance crashed");
        slot.update(|view| view.last_exit = Some(exit));
        let retry_at = jiff::Timestamp::now() + jiff::SignedDuration::try_from(wait).unwrap_or_default();
        own.enter(&slot, Stage::Crashed(retry_at));
        tokio::select! {
            () = sleep(wait) => {}
            _ = told(&mut stop) => break own.enter(&slot, Stage::Gone),
        }
        slot.update(|view| {
            view.id.attempt += 1;
            view.restarts += 1;
        });
    }
}

impl Supervision {
    fn enter(&self, slot: &Slot, stage: Stage) {
        slot.enter(stage);
        (self.changed)();
    }

    /// One instance from its start to its end.
    async fn one_life(
        &self,
        slot: &Slot,
        stop: &mut watch::Receiver<Stop>,
        found: Option<(Arc<dyn Guest>, bool)>,
    ) -> Ended {
        let id = slot.view().id;
        let (guest, ready) = if let Some(found) = found {
            found
        } else {
            self.enter(slot, Stage::Starting);
            match self.machine.start(&id, &self.group.release).await {
                Ok(guest) => (guest, false),
                Err(fault) => return Ended::Failed(Failure::Start(fault)),
            }
        };
        slot.update(|view| view.guest = Some(guest.clone()));
        if !ready {
            tokio::select! {
                biased;
                how = told(stop) => return self.end(slot, &guest, how, stop).await,
                exit = guest.exit() => {
                    guest.dispose(&exit).await;
                    return Ended::Failed(Failure::Exited(exit));
                }
                outcome = self.readiness(&id, &*guest) => match outcome {
                    Ok(()) => {}
                    Err(seen) => return self.give_up(&guest, seen).await,
                },
            }
        }
        self.enter(slot, Stage::Ready);
        let since = Instant::now();
        let exit = tokio::select! {
            biased;
            how = told(stop) => return self.end(slot, &guest, how, stop).await,
            exit = guest.exit() => exit,
            seen = self.dead(&id, &*guest) => {
                self.enter(slot, Stage::Crashed(jiff::Timestamp::now()));
                let exit = shut_down(&*guest, self.group.release.settings.grace_of(&id.process)).await;
                ExitReason { ended_because: Some(format!("not alive: {seen}")), ..exit }
            }
        };
        // Out of the route first: what is left of it takes a moment to clear away.
        slot.update(|view| view.last_exit = Some(exit.clone()));
        self.enter(slot, Stage::Crashed(jiff::Timestamp::now()));
        guest.dispose(&exit).await;
        Ended::Crashed(exit, since.elapsed())
    }

    /// Returns when a ready instance is to be taken for dead, with what was seen last instead of life.
    async fn dead(&self, id: &InstanceId, guest: &dyn Guest) -> String {
        let settings = &self.group.release.settings;
        let Some(asked) = settings.liveness.as_ref().filter(|_| id.process.is_web()) else {
            return std::future::pending().await;
        };
        let check = Readiness::of(asked.path.as_ref());
        let mut failures = 0;
        loop {
            sleep(asked.every.duration()).await;
            match guest.probe(&check, settings.port).await {
                Ok(()) => failures = 0,
                Err(_) if failures + 1 < asked.failures => failures += 1,
                Err(seen) => return seen,
            }
        }
    }

    /// Waits for readiness; the error says what was seen last instead.
    async fn readiness(&self, id: &InstanceId, guest: &dyn Guest) -> Result<(), String> {
        let settings = &self.group.release.settings;
        if !id.process.is_web() {
            sleep(SETTLING).await;
            return Ok(());
        }
        let mut seen = "it was never asked".to_owned();
        let mut wait = FIRST_LOOK;
        let looking = async {
            loop {
                match guest.probe(&settings.readiness, settings.port).await {
                    Ok(()) => return,
                    Err(error) => seen = error,
                }
                sleep(wait).await;
                wait = (wait * 3 / 2).min(LAST_LOOK);
            }
        };
        let in_time = timeout(settings.timeout, looking).await.is_ok();
        if in_time { Ok(()) } else { Err(seen) }
    }

    async fn give_up(&self, guest: &Arc<dyn Guest>, seen: String) -> Ended {
        let lines = guest.last_lines().await;
        guest.kill().await;
        let mut exit = guest.exit().await;
        exit.ended_because = Some(self.not_ready());
        guest.dispose(&exit).await;
        Ended::Failed(Failure::NotReady(seen, lines))
    }

    fn not_ready(&self) -> String {
        let settings = &self.group.release.settings;
        format!("not ready on port {} within {} s", settings.port, settings.timeout.as_secs())
    }

    /// A failed restart as the end of an instance.
    fn exit_of(&self, failure: Failure) -> ExitReason {
        match failure {
            Failure::Exited(exit) => exit,
            Failure::NotReady(_, last_lines) => {
                ExitReason { ended_because: Some(self.not_ready()), last_lines, ..ExitReason::default() }
            }
            Failure::Start(fault) => ExitReason {
                ended_because: Some(format!("not started: {}", fault.what)),
                last_lines: fault.why,
                ..ExitReason::default()
            },
        }
    }

    /// Ends an instance as it was told to.
    async fn end(
        &self,
        slot: &Slot,
        guest: &Arc<dyn Guest>,
        how: Stop,
        stop: &mut watch::Receiver<Stop>,
    ) -> Ended {
        let id = slot.view().id;
        let settings = &self.group.release.settings;
        let (drain, grace) = (settings.drain, settings.grace_of(&id.process));
        self.enter(slot, Stage::Stopping);
        let hurried = hurried(stop);
        let gently = async {
            if how == Stop::Drain {
                if timeout(drain, self.traffic.drained(&id)).await.is_err() {
                    tracing::info!(instance = %id, ?drain, "requests under way were cut");
                }
                guest.terminate().await;
                return timeout(grace, guest.exit()).await.ok();
            }
            std::future::pending().await
        };
        let exit = tokio::select! {
            exit = gently => exit,
            () = hurried => {
                guest.terminate().await;
                timeout(grace.min(HURRY), guest.exit()).await.ok()
            }
        };
        let exit = if let Some(exit) = exit {
            exit
        } else {
            guest.kill().await;
            guest.exit().await
        };
        let exit = ExitReason { ended_because: Some("stopped".to_owned()), ..exit };
        guest.dispose(&exit).await;
        Ended::Stopped
    }
}

/// Returns when the group is told to stop.
async fn told(stop: &mut watch::Receiver<Stop>) -> Stop {
    match stop.wait_for(|stop| *stop != Stop::No).await {
        Ok(stop) => *stop,
        // The group is gone, and nobody is left to tell.
        Err(_) => Stop::Now,
    }
}

/// Returns when the group is told to stop at once.
async fn hurried(stop: &mut watch::Receiver<Stop>) {
    let _ = stop.wait_for(|stop| *stop == Stop::Now).await;
}
