//! Builds wait, run and are resumed here.
//!
//! The queue itself is rows in the store; this file holds only what a running program adds: who can be cancelled, and
//! how many run at once.

use crate::cancel::Cancel;
use crate::lead::until_done;
use crate::log::BuildLog;
use crate::replica::GOOD_FOR;
use crate::{Platform, faults};
use futures::FutureExt;
use hythe_model::{BuildCause, BuildEvent, BuildId, Fault, Release, ReleaseState, ToolName};
use hythe_store::{Build, BuildOutcome, BuildState};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Builds that ended last, whose logs are looked at after a start: more never ended at one moment.
pub(crate) const LOOK_BACK: u32 = 50;
/// How long a claim is good for where this is the only server. Its next start resumes whatever it left, and so it need not run out.
const CLAIM: Duration = Duration::from_hours(24 * 365);
/// How long nobody looks whether something waits who was not woken.
const LOOK: Duration = Duration::from_secs(5);
/// Between two looks for what builds have left.
const SWEEP: Duration = Duration::from_mins(2);
/// How long a start waits for the end of something that the last stop has interrupted.
const AT_START: Duration = Duration::from_secs(5);
/// How long a build waits for its log to be begun by the server that took the push.
const HEAD: Duration = Duration::from_secs(2);

/// The builds that run in this program.
pub(crate) struct Running {
    builds: Mutex<HashMap<BuildId, Arc<Cancel>>>,
    slots: Arc<Semaphore>,
    wake: Notify,
    tasks: TaskTracker,
    /// Cancelled once builds are not waited for any more.
    given_up: CancellationToken,
}

impl Running {
    pub(crate) fn new(at_once: usize) -> Self {
        Self {
            builds: Mutex::default(),
            slots: Arc::new(Semaphore::new(at_once.max(1))),
            wake: Notify::new(),
            tasks: TaskTracker::new(),
            given_up: CancellationToken::new(),
        }
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<BuildId, Arc<Cancel>>> {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a build among those that run here.
    fn enter(self: &Arc<Self>, build: BuildId) -> Entry {
        let cancel = self.map().entry(build).or_default().clone();
        Entry { running: self.clone(), build, cancel }
    }

    /// Asks a running build to end for this reason; the first reason counts. `false` where it does not run here.
    pub(crate) fn cancel(&self, build: BuildId, reason: Fault) -> bool {
        let active = self.map().get(&build).cloned();
        active.map(|active| active.ask(reason)).is_some()
    }

    /// The builds that run here.
    pub(crate) fn ids(&self) -> Vec<BuildId> {
        self.map().keys().copied().collect()
    }

    /// Lets go of a build that is another server's now.
    pub(crate) fn lose(&self, build: BuildId) {
        if let Some(active) = self.map().get(&build) {
            active.lose();
        }
    }

    /// Lets go of all builds: others may have them.
    pub(crate) fn lose_all(&self) {
        for active in self.map().values() {
            active.lose();
        }
    }

    /// Does this work of a build, or lets go of it where the server ends first. It has then neither failed nor gone well: the next
    /// start takes it up from its row.
    pub(crate) async fn unless_given_up<T>(&self, work: impl Future<Output = T>) -> T {
        match self.given_up.run_until_cancelled(work).await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// Tells the queue that something waits.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// A build's place among those that run here. However its task ends, its claim is renewed no longer than this lives.
struct Entry {
    running: Arc<Running>,
    build: BuildId,
    cancel: Arc<Cancel>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.map().remove(&self.build);
    }
}

impl Platform {
    /// Runs builds until `shutdown`, then waits at most `patience` for those that run. What is left stays in the store
    /// and is resumed at the next start.
    pub async fn run_queue(&self, shutdown: CancellationToken, patience: Duration) {
        let running = &self.inner.running;
        let good_for = if self.inner.replica.is_some() { GOOD_FOR } else { CLAIM };
        let mut changes = self.store().changes();
        if self.parts().settings.builds {
            let (platform, end) = (self.clone(), shutdown.clone());
            tokio::spawn(async move { end.run_until_cancelled(platform.sweep_now_and_then()).await });
        } else {
            shutdown.cancelled().await;
        }
        while !shutdown.is_cancelled() {
            let slot = tokio::select! {
                slot = running.slots.clone().acquire_owned() => slot,
                () = shutdown.cancelled() => break,
            };
            let Ok(slot) = slot else { break };
            match self.store().claim_next_build(&self.inner.holder, good_for).await {
                Ok(Some(build)) => {
                    let platform = self.clone();
                    running.tasks.spawn(Box::pin(async move { platform.run_build(build, slot).await }));
                }
                Ok(None) => {
                    drop(slot);
                    // Of what others queue and end this server is told, or looks.
                    let woken = async {
                        match self.inner.replica {
                            Some(_) => drop(tokio::time::timeout(LOOK, changes.changed()).await),
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = running.wake.notified() => (),
                        () = woken => (),
                        () = shutdown.cancelled() => break,
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the build queue could not be read");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        // Other servers go on taking turns.
        if self.inner.replica.is_none()
            && let Err(fault) = self.end_waiting_pushes().await
        {
            tracing::error!(%fault, "pushes that wait could not be told of the server's end");
        }
        running.tasks.close();
        if tokio::time::timeout(patience, running.tasks.wait()).await.is_err() {
            tracing::warn!("builds still run; they are resumed at the next start, or by another server");
            let left = running.ids();
            running.given_up.cancel();
            // Nobody would watch over them.
            if let Err(fault) = self.sweep_builds(move |build| !left.contains(&build)).await {
                tracing::error!(%fault, "a build's sandbox could not be ended");
            }
        }
    }

    /// Removes what builds have left that could not be removed at their end, as where the cluster was away.
    async fn sweep_now_and_then(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            if let Err(fault) = self.sweep_ended_builds().await {
                tracing::warn!(%fault, "what builds have left could not be looked for");
            }
        }
    }

    /// Ends the pushes that wait for their turn and whose clients wait for them: they have none any more.
    async fn end_waiting_pushes(&self) -> Result<(), Fault> {
        for build in self.store().unfinished_builds().await? {
            if build.state == BuildState::Queued && build.cause == BuildCause::Push {
                self.end_build(&build, faults::interrupted()).await?;
            }
        }
        Ok(())
    }

    /// A build of a tool that has not ended.
    pub(crate) async fn unfinished_build_of(&self, tool: &ToolName) -> Result<Option<BuildId>, Fault> {
        Ok(self.store().unfinished_builds_of(tool).await?.last().map(|build| build.id))
    }

    async fn run_build(self, build: Build, slot: OwnedSemaphorePermit) {
        self.logs().begun(build.id, HEAD).await;
        let log = self.build_log(&build);
        self.logs().own_build(build.id);
        let work = async |cancel: &Cancel| Box::pin(self.deploy(&build, &log, cancel, slot)).await;
        self.run_to_the_end(&build, &log, self.inner.running.enter(build.id), work).await;
    }

    /// Runs one build's work under a token that others can cancel, and writes down how it ended.
    async fn run_to_the_end(
        &self,
        build: &Build,
        log: &BuildLog,
        entry: Entry,
        work: impl AsyncFnOnce(&Cancel) -> Result<Release, Fault>,
    ) {
        let cancel = entry.cancel.clone();
        // Somebody may have ended it, or a newer push have come, between the claim and the line above.
        if let Ok(Some(row)) = self.store().build(build.id).await {
            if row.state.is_finished() {
                return;
            }
            if let Some(newer) = row.superseded_by {
                cancel.ask(faults::superseded(newer));
            }
            if let Some(reason) = row.stop {
                cancel.ask(reason);
            }
        }
        let work = AssertUnwindSafe(Box::pin(work(&cancel))).catch_unwind();
        let result = match cancel.unless_lost(work).await {
            None => {
                self.logs().leave_build(build.id);
                return tracing::warn!(build = %build.id, "let go of: another server may run it");
            }
            // Its claim is kept until it has ended: nobody else is to take it up meanwhile.
            Some(Err(_)) => return self.end_broken(build, log, entry).await,
            Some(Ok(result)) => result,
        };
        drop(entry);
        let failed = result.is_err();
        let event = match result {
            Ok(release) => BuildEvent::Live {
                release: release.number.to_string(),
                url: self.url(&build.tool),
                millis: millis_since(build.created_at),
            },
            Err(fault) => {
                let fault = self.told(&build.tool, None, fault, &cancel).await;
                self.finish(build.id, cancel.outcome(fault.clone())).await;
                BuildEvent::Failed { fault }
            }
        };
        log.end(&event);
        // It may have written a release that it could not go on with.
        if failed && let Err(fault) = self.end_left_over(&build.tool).await {
            tracing::warn!(build = %build.id, %fault, "its release is taken back later");
        }
        // The next build of the same tool may have waited for this one.
        self.inner.running.wake();
    }

    /// Ends a build whose task has panicked, with what it has left half done.
    async fn end_broken(&self, build: &Build, log: &BuildLog, _entry: Entry) {
        let fault = faults::internal("run a build", &"its task has panicked");
        let outcome = BuildOutcome::Failed(fault.clone());
        let row = self.store().build(build.id).await.ok().flatten().unwrap_or_else(|| build.clone());
        if row.state.is_finished() {
            // It broke after its end.
            self.end_log(&row);
        } else if let Err(why) = self.interrupt(&row, outcome.clone()).await {
            tracing::warn!(build = %build.id, fault = %why, "its release could not be taken back");
            // Else it is another server's, and so is its log.
            if self.finish(build.id, outcome).await {
                log.end(&BuildEvent::Failed { fault });
            }
        }
        self.inner.running.wake();
    }

    /// Writes a build's end down; whether it had not ended before.
    async fn finish(&self, build: BuildId, outcome: BuildOutcome) -> bool {
        let finished = self.store().finish_build(build, outcome).await;
        finished.unwrap_or_else(|error| {
            tracing::error!(%build, %error, "the end of a build could not be written down");
            false
        })
    }

    /// Ends a build that has not switched the route.
    pub async fn cancel_build(&self, build: BuildId) -> Result<(), Fault> {
        let row = self.store().build(build).await?.ok_or_else(|| faults::no_build(build))?;
        self.end_build(&row, faults::cancelled_by_request()).await
    }

    /// Ends a build for this reason, queued or running.
    pub(crate) async fn end_build(&self, build: &Build, reason: Fault) -> Result<(), Fault> {
        if !self.store().end_queued_build(build.id, BuildOutcome::Cancelled(reason.clone())).await? {
            // Its row first: whoever runs it, from then on its release does not go live.
            let asked = self.store().ask_to_end(build.id, &reason).await?;
            self.inner.running.cancel(build.id, reason);
            return if asked { Ok(()) } else { Err(faults::build_over(build.id)) };
        }
        self.build_log(build).end(&BuildEvent::Failed { fault: reason });
        Ok(())
    }

    /// Ends what a newer push of the same tool replaces.
    pub(crate) async fn supersede(&self, newer: &Build) -> Result<Vec<BuildId>, Fault> {
        let older = self.store().supersede_older_builds(newer.id).await?;
        for id in &older {
            let reason = faults::superseded(newer.id);
            if !self.inner.running.cancel(*id, reason.clone())
                && let Some(build) = self.store().build(*id).await?
            {
                // Whoever runs it hears of it too, and its log ends once.
                self.build_log(&build).end(&BuildEvent::Failed { fault: reason });
            }
        }
        Ok(older)
    }

    /// Makes every running build this server's, which is the only one there is.
    pub(crate) async fn take_all_builds(&self) -> Result<(), Fault> {
        Ok(self.store().take_all_claims(&self.inner.holder, CLAIM).await?)
    }

    /// Puts right what a stop left behind; call it once, before the fronts open.
    pub(crate) async fn resume_builds(&self) -> Result<(), Fault> {
        for build in self.store().unfinished_builds().await? {
            // The client of an attached push was told by the lost connection.
            if build.cause == BuildCause::Push {
                let platform = self.clone();
                let end = move || {
                    let (platform, build) = (platform.clone(), build.clone());
                    let outcome = BuildOutcome::Failed(faults::interrupted());
                    async move { platform.interrupt(&build, outcome).await }
                };
                now_or_later("end an interrupted push", end).await;
            } else if build.state == BuildState::Running {
                self.resume_build(build).await?;
            }
        }
        let platform = self.clone();
        let end = move || {
            let platform = platform.clone();
            async move { platform.end_all_left_over().await }
        };
        now_or_later("end what rolled out", end).await;
        Ok(())
    }

    /// Ends the logs of builds that ended just when the server did: their readers would wait for ever.
    pub(crate) async fn mend_logs(&self) -> Result<(), Fault> {
        for build in self.store().ended_builds(LOOK_BACK).await? {
            let ended = self.logs().has_ended(build.id).await;
            if !ended.map_err(|error| faults::internal("look at a build's log", &error))? {
                self.end_log(&build);
            }
        }
        Ok(())
    }

    /// Ends the log of a build that has ended, as its row says.
    pub(crate) fn end_log(&self, build: &Build) {
        let event = if let (BuildState::Succeeded, Some(release)) = (build.state, build.release) {
            BuildEvent::Live {
                release: release.to_string(),
                url: self.url(&build.tool),
                millis: millis_since(build.created_at),
            }
        } else {
            let superseded = || build.superseded_by.map(faults::superseded);
            let fault = build.fault.clone().or_else(superseded);
            BuildEvent::Failed { fault: fault.unwrap_or_else(faults::interrupted) }
        };
        self.build_log(build).end(&event);
    }

    /// Ends a build that nobody runs any more, with its release.
    pub(crate) async fn interrupt(&self, build: &Build, outcome: BuildOutcome) -> Result<(), Fault> {
        let fault = outcome.fault().cloned().unwrap_or_else(faults::interrupted);
        let mut ended = false;
        if let Some(number) = build.release {
            // Whoever has the turn goes first; it is tried again.
            let turn = self.inner.turns.try_take(&build.tool).await?;
            let _turn = turn.ok_or_else(|| faults::changing(&build.tool))?;
            self.take_back(&build.tool, number).await?;
            ended = self.store().fail_release(&build.tool, number, &outcome).await?;
        }
        ended |= match build.state {
            BuildState::Queued => self.store().end_queued_build(build.id, outcome).await?,
            _ => self.store().finish_build(build.id, outcome).await?,
        };
        // Else it is another server's again, and so is its log.
        if ended {
            self.build_log(build).end(&BuildEvent::Failed { fault });
        }
        Ok(())
    }

    /// The same, in the time that what runs of it takes to go, which is longer than from one beat to the next. Its claim is renewed
    /// meanwhile; where it cannot be ended that runs out, and whoever takes it up next tries again.
    pub(crate) fn interrupt_in_time(&self, build: Build, outcome: BuildOutcome) {
        let (platform, entry) = (self.clone(), self.inner.running.enter(build.id));
        self.inner.running.tasks.spawn(async move {
            let ending = Box::pin(platform.interrupt(&build, outcome));
            if let Some(Err(fault)) = entry.cancel.unless_lost(ending).await {
                tracing::warn!(build = %build.id, %fault, "it could not be ended; it is tried again");
            }
        });
    }

    pub(crate) async fn resume_build(&self, build: Build) -> Result<(), Fault> {
        let Some(number) = build.release else {
            self.store().requeue_build(build.id).await?;
            self.inner.running.wake();
            return Ok(());
        };
        let release = self.store().release(&build.tool, number).await?;
        let Some(release) = release.filter(|release| release.state == ReleaseState::RollingOut) else {
            return self.interrupt(&build, BuildOutcome::Failed(faults::interrupted())).await;
        };
        let (platform, entry) = (self.clone(), self.inner.running.enter(build.id));
        self.inner.running.tasks.spawn(async move {
            let log = platform.build_log(&build);
            platform.logs().own_build(build.id);
            let work = async |cancel: &Cancel| platform.resume_release(&build, release, &log, cancel).await;
            platform.run_to_the_end(&build, &log, entry, work).await;
        });
        Ok(())
    }
}

/// Does this now, or, where it fails or takes long, until it is done: no start waits for a cluster that is away.
async fn now_or_later<F, S>(what: &'static str, step: S)
where
    F: Future<Output = Result<(), Fault>> + Send,
    S: Fn() -> F + Send + Sync + 'static,
{
    match tokio::time::timeout(AT_START, step()).await {
        Ok(Ok(())) => {}
        _ => drop(tokio::spawn(async move { until_done(what, step).await })),
    }
}

fn millis_since(then: jiff::Timestamp) -> u64 {
    u64::try_from(jiff::Timestamp::now().duration_since(then).as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_whose_task_panics_runs_here_no_more() {
        let running = Arc::new(Running::new(1));
        let entry = running.enter(BuildId(1));
        assert_eq!(running.ids(), [BuildId(1)]);
        let task = running.tasks.spawn(async move {
            let _entry = entry;
            panic!("as a test wants it");
        });
        assert!(task.await.is_err());
        assert!(running.ids().is_empty(), "its claim is not renewed for ever");
    }
}
