//! A candidate from its first start to the readiness of its last instance.

use super::group::{Group, Slot, Stage, View};
use super::supervise::Begin;
use super::tools::Tools;
use crate::canary::{self, First, Watch};
use crate::fault::{self, Failure};
use crate::runtime::{Candidate, Notes, RunnableRelease};
use crate::status::ExitReason;
use futures::future::{select_all, try_join_all};
use hythe_model::{BuildEvent, Fault, Phase};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Between two looks at whether a canary is ready still, and how many in a row may fail: a cluster's nodes look like this too.
const LOOK: Duration = Duration::from_secs(5);
const LOOKS: u32 = 3;

impl Tools {
    /// Starts a release beside what runs.
    pub(crate) async fn start(
        &self,
        release: RunnableRelease,
        before: Option<&RunnableRelease>,
        notes: &Notes<'_>,
        cancel: CancellationToken,
    ) -> Result<Candidate, Fault> {
        let begun = Instant::now();
        fault::check_formation(&release)?;
        let cancelled = || fault::cancelled(&release.release);
        let prepared = cancel.run_until_cancelled(self.machine.prepare(&release)).await;
        prepared.ok_or_else(cancelled)??;
        let commanded = cancel.run_until_cancelled(self.release_command(&release, notes)).await;
        commanded.ok_or_else(cancelled)??;
        let group = {
            let mut states = self.states();
            let state = states.entry(release.release.tool.clone()).or_default();
            let group = state.group(release.clone(), false);
            state.coming.push(group.clone());
            group
        };
        // From here on the group ends with this future or with the candidate, whichever lets go of it.
        let dropped = CancellationToken::new();
        let guard = dropped.clone().drop_guard();
        self.watch_over(&group, dropped.clone());
        self.publish(group.tool());
        let coming = self.bring_up(&group, before, notes);
        let failed = match cancel.run_until_cancelled(coming).await {
            Some(Ok(())) => {
                let (tool, number) = (group.tool().clone(), group.number());
                let _ = guard.disarm();
                return Ok(Candidate::new(tool, number, group.slots.len(), begun.elapsed(), dropped));
            }
            Some(Err(fault)) => fault,
            None => cancelled(),
        };
        self.end_coming(&group).await;
        Err(failed)
    }

    /// Starts a group's instances and waits for them; its canary, where it has one, first.
    async fn bring_up(
        &self,
        group: &Arc<Group>,
        before: Option<&RunnableRelease>,
        notes: &Notes<'_>,
    ) -> Result<(), Fault> {
        let web: Vec<_> = group.web().cloned().collect();
        let all = u32::try_from(web.len()).unwrap_or(u32::MAX);
        if let Some(first) = canary::of(&group.release, before, all) {
            self.canary(group, &web[..first.part as usize], first, notes).await?;
        }
        let planned = group.slots.iter().filter(|slot| matches!(slot.view().stage, Stage::Planned));
        planned.for_each(|slot| self.occupy(group, slot, Begin::Trial));
        all_ready(&group.slots).await.map_err(|failed| told(&group.release, &failed, notes))
    }

    /// Starts these of the web instances, lets them take traffic, and sees whether they do well.
    async fn canary(
        &self,
        group: &Arc<Group>,
        slots: &[Arc<Slot>],
        first: First,
        notes: &Notes<'_>,
    ) -> Result<(), Fault> {
        let release = &group.release;
        for slot in slots {
            slot.update(|view| view.canary = true);
            self.occupy(group, slot, Begin::Trial);
        }
        all_ready(slots).await.map_err(|failed| told(release, &failed, notes))?;
        group.share(true);
        self.publish(group.tool());
        let old = || self.states().get(group.tool()).and_then(|state| state.live.clone());
        let instances = || {
            let ids = |group: &Group| group.upstreams().into_iter().map(|up| up.instance).collect();
            [ids(group), old().map(|old| ids(&old)).unwrap_or_default()]
        };
        let watch = Watch { traffic: &*self.traffic, release, first, instances: &instances, notes };
        let watched = async {
            watch.goes_well().await?;
            // Whoever has just stopped to answer has not done well.
            still_ready(slots, release).await
        };
        let looked = async {
            loop {
                sleep(LOOK).await;
                still_ready(slots, release).await?;
            }
        };
        tokio::select! {
            biased;
            failed = first_over(slots) => Err(match failed.stage {
                Stage::Failed(Failure::Exited(exit)) => fault::canary_ended(release, &exit),
                _ => told(release, &failed, notes),
            }),
            unwell = looked => unwell,
            watched = watched => watched,
        }
    }
}

/// Waits until all slots are ready at the same time; the first that fails decides.
async fn all_ready(slots: &[Arc<Slot>]) -> Result<(), View> {
    let ready = async {
        for slot in slots {
            slot.until(|view| matches!(view.stage, Stage::Ready)).await;
        }
    };
    tokio::select! {
        biased;
        failed = first_over(slots) => Err(failed),
        () = ready => Ok(()),
    }
}

/// The first slot whose instance has ended.
async fn first_over(slots: &[Arc<Slot>]) -> View {
    if slots.is_empty() {
        return std::future::pending().await;
    }
    select_all(slots.iter().map(|slot| Box::pin(slot.until(View::is_over)))).await.0
}

/// Whether all of these are ready still: each has several looks to show it.
async fn still_ready(slots: &[Arc<Slot>], release: &RunnableRelease) -> Result<(), Fault> {
    let (check, port) = (&release.settings.readiness, release.settings.port);
    let each = slots.iter().map(async |slot| {
        // One that has ended is seen by its end.
        let Some(guest) = slot.view().guest else { return Ok(()) };
        for look in 1..=LOOKS {
            if guest.probe(check, port).await.is_ok() {
                return Ok(());
            }
            if look < LOOKS {
                sleep(LOOK).await;
            }
        }
        Err(fault::canary_unwell(release, &guest.last_lines().await))
    });
    try_join_all(each).await.map(|_| ())
}

/// Why an instance has ended; a note of it goes to the log.
fn told(release: &RunnableRelease, failed: &View, notes: &Notes<'_>) -> Fault {
    let failure = match &failed.stage {
        Stage::Failed(failure) => failure.clone(),
        _ => Failure::Exited(ExitReason::default()),
    };
    if let Some(text) = fault::note(&failed.id, &failure) {
        notes(BuildEvent::Note { phase: Phase::Rollout, text, millis: None });
    }
    fault::of_failure(release, &failed.id, failure)
}
