//! A candidate from its first start to the readiness of its last instance.

use super::group::{Group, Stage, View};
use super::supervise::Begin;
use super::tools::Tools;
use crate::fault::{self, Failure};
use crate::runtime::{Candidate, Notes, RunnableRelease};
use crate::status::ExitReason;
use futures::future::select_all;
use hythe_model::{BuildEvent, Fault, Phase};
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

impl Tools {
    /// Starts a release beside what runs.
    pub(crate) async fn start(
        &self,
        release: RunnableRelease,
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
        group.slots.iter().for_each(|slot| self.occupy(&group, slot, Begin::Trial));
        let failed = match cancel.run_until_cancelled(all_ready(&group)).await {
            Some(Ok(())) => {
                let (tool, number) = (group.tool().clone(), group.number());
                let _ = guard.disarm();
                return Ok(Candidate::new(tool, number, group.slots.len(), begun.elapsed(), dropped));
            }
            Some(Err((place, fault))) => {
                let note = |text| notes(BuildEvent::Note { phase: Phase::Rollout, text, millis: None });
                place.map(note);
                fault
            }
            None => cancelled(),
        };
        self.end_coming(&group).await;
        Err(failed)
    }
}

/// Waits until all slots are ready at the same time; the first that fails decides. The error holds a note for the log,
/// and the fault.
async fn all_ready(group: &Arc<Group>) -> Result<(), (Option<String>, Fault)> {
    let ready = async {
        for slot in &group.slots {
            slot.until(|view| matches!(view.stage, Stage::Ready)).await;
        }
    };
    let failed = async {
        let each = group.slots.iter().map(|slot| Box::pin(slot.until(View::is_over)));
        if group.slots.is_empty() { std::future::pending().await } else { select_all(each).await.0 }
    };
    let view = tokio::select! {
        biased;
        view = failed => view,
        () = ready => return Ok(()),
    };
    let failure = match view.stage {
        Stage::Failed(failure) => failure,
        _ => Failure::Exited(ExitReason::default()),
    };
    Err((fault::note(&view.id, &failure), fault::of_failure(&group.release, &view.id, failure)))
}
