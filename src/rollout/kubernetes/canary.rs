//! The canary of a release in a cluster: a Deployment and a Service of its own beside those of the release before.
//!
//! They go when the release is live or taken back, with everything else that nobody wishes any more.

use super::desired::CANARY;
use super::progress::Wanted;
use super::rollout::{Rollouts, Stage};
use super::seen::{Seen, ToolView};
use super::view::{self, PodView};
use crate::canary::{self, LOOK, Watch};
use crate::fault as common;
use crate::runtime::{Notes, RunnableRelease, Traffic};
use crate::status::ExitReason;
use hythe_model::{Fault, InstanceId, ProcessType};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

impl Rollouts {
    /// Brings up the release's canary, where it has one, and sees whether it does well.
    pub(super) async fn canary(
        &self,
        release: &RunnableRelease,
        before: Option<&RunnableRelease>,
        notes: &Notes<'_>,
    ) -> Result<(), Fault> {
        let (tool, number) = (&release.release.tool, release.release.number);
        let all = self.counts(release).remove(&ProcessType::web()).unwrap_or(0);
        let Some(first) = canary::of(release, before, all) else { return Ok(()) };
        // Whoever began with the rest had seen the canary do well.
        let web = self.seen.tool(tool).deployments.remove(ProcessType::web().as_str());
        if web.is_some_and(|web| web.release == Some(number)) {
            return Ok(());
        }
        self.enter(tool, Stage::Canary(first.part));
        let wanted = [Wanted::canary(first.part)];
        let objects = self.canary_objects(release, first.part)?;
        self.bring_up(release, &objects, &wanted, notes).await?;
        let watch = Watch {
            traffic: &*self.traffic,
            release,
            first,
            instances: &|| sides(&self.seen.tool(tool)),
            notes,
        };
        tokio::select! {
            biased;
            fault = self.canary_lost(release) => return Err(fault),
            watched = watch.goes_well() => watched?,
        }
        // One of its pods may have been taken away meanwhile, for no fault of its own.
        self.until_there(release, &wanted, notes).await
    }

    /// Returns when a pod of the canary has ended, or was ready and is not any more.
    async fn canary_lost(&self, release: &RunnableRelease) -> Fault {
        let tool = &release.release.tool;
        let mut changes = self.seen.changes(tool);
        let mut well = HashSet::new();
        loop {
            changes.mark_unchanged();
            let view = self.seen.tool(tool);
            for pod in view.all().filter(|pod| pod.set == CANARY && !pod.leaving && !pod.was_lost()) {
                if let Some(exit) = ended(pod) {
                    let last_lines = self.logs.last_lines(pod).await;
                    return common::canary_ended(release, &ExitReason { last_lines, ..exit });
                }
                if pod.ready {
                    well.insert(pod.name.clone());
                } else if well.contains(&pod.name) {
                    return common::canary_unwell(release, &self.logs.last_lines(pod).await);
                }
            }
            if changes.changed().await.is_err() {
                return common::cancelled(&release.release);
            }
        }
    }
}

/// Tells the other servers what pods answer here as long as one of them may watch a canary among them.
pub(super) async fn tell(seen: Arc<Seen>, traffic: Arc<dyn Traffic>, end: CancellationToken) {
    let mut canaries = seen.canaries();
    let mut told = HashSet::new();
    let telling = async {
        loop {
            let mut tools = canaries.borrow_and_update().clone();
            for tool in &tools {
                traffic.tell(tool, &sides(&seen.tool(tool)).concat()).await;
            }
            let over: Vec<_> = told.difference(&tools).cloned().collect();
            for tool in over {
                if !traffic.tell(&tool, &[]).await {
                    tools.insert(tool);
                }
            }
            told = tools;
            if told.is_empty() && canaries.changed().await.is_err() {
                return;
            }
            sleep(LOOK).await;
        }
    };
    end.run_until_cancelled(telling).await;
}

/// How a pod's container has ended, now or before its last start.
fn ended(pod: &PodView) -> Option<ExitReason> {
    match &pod.stage {
        view::Stage::Ended(exit) => Some(exit.clone()),
        _ => pod.last_exit.clone(),
    }
}

/// Those in the route that are the canary's, and those that are not.
fn sides(view: &ToolView) -> [Vec<InstanceId>; 2] {
    let (new, old): (Vec<_>, Vec<_>) = view.in_route().partition(|pod| pod.set == CANARY);
    [new, old].map(|side| side.into_iter().map(|pod| pod.id.clone()).collect())
}
