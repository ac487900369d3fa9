//! The command that runs before a release takes traffic: a Job, made once, followed to its end.
//!
//! A server that dies in the middle leaves the Job running. Whoever goes on with the release finds it by its name and hears it
//! from its first line on.

use super::desired::{self, CONTAINER};
use super::fault;
use super::progress::{hindrance, trouble};
use super::rollout::Rollouts;
use super::seen::ToolView;
use super::view::{PodView, Stage};
use super::waiting::Waiting;
use crate::command::Heard;
use crate::fault::cancelled;
use crate::runtime::{Notes, RunnableRelease};
use crate::status::ExitReason;
use hythe_cluster::{ClusterError, Output, Position, create, remove, remove_own};
use hythe_model::{Fault, JobName, Phase, ReleaseNumber, ToolName};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Between two looks at a stream that broke.
const AGAIN: Duration = Duration::from_millis(500);
/// Between two attempts at ending one that the cluster was not there for.
const LATER: Duration = Duration::from_secs(15);
/// How long a command that was told to end may take to be gone.
const GONE: Duration = Duration::from_secs(20);
/// How many looks at the output of a container that has ended are worth it.
const LAST_LOOKS: u32 = 10;
/// The longest piece of a line, in bytes.
const PIECE: usize = 16 << 10;

impl Rollouts {
    /// Runs the release's command, where it has one, and tells what it prints.
    pub(super) async fn release_command(
        &self,
        release: &RunnableRelease,
        notes: &Notes<'_>,
    ) -> Result<(), Fault> {
        let Some(command) = &release.release_command else { return Ok(()) };
        let not_applied = |error: ClusterError| fault::not_applied(&release.release, &error);
        let tool = &release.release.tool;
        self.end_other_commands(release).await.map_err(not_applied)?;
        let pull = self.pull(tool);
        let (objects, job) = desired::release_job(&self.wish(release, pull.as_ref()), command)?;
        let alone = self.alone(tool).await;
        self.cluster.apply(&self.owner(tool), &objects).await.map_err(not_applied)?;
        // One that runs already, as where another server has begun with it, is not tried beside itself.
        if pod_of(&self.seen.tool(tool), release.release.number).is_none() {
            let tried = self.try_pod(tool, &job).await;
            tried.map_err(|error| fault::command_refused(&release.release, &error))?;
        }
        create(&self.api::<Job>(tool), &job).await.map_err(not_applied)?;
        drop(alone);
        let mut heard = Heard::new(command, notes);
        let pod = self.begun(release, notes).await?;
        let begun = Instant::now();
        let exit = timeout(command.timeout.duration(), self.follow(release, &pod, &mut heard)).await;
        heard.judge(release, command, exit.ok().as_ref(), begun.elapsed())
    }

    /// Ends the release's command, should it still run, and waits until nothing of it does: the next one may be a migration of the
    /// same database.
    pub(super) async fn end_release_command(&self, release: &RunnableRelease) -> Result<(), ClusterError> {
        match release.release_command {
            Some(_) => self.end_command(&release.release.tool, release.release.number).await,
            None => Ok(()),
        }
    }

    /// The same of every other release of the tool: one may have been left where its end could not be asked for.
    async fn end_other_commands(&self, release: &RunnableRelease) -> Result<(), ClusterError> {
        let (tool, own) = (&release.release.tool, release.release.number);
        let others: BTreeSet<ReleaseNumber> = commands(&self.seen.tool(tool))
            .map(|pod| pod.id.release)
            .filter(|number| *number != own)
            .collect();
        for number in others {
            self.end_command(tool, number).await?;
        }
        Ok(())
    }

    /// Asks for the end of a release's command until the cluster has heard it.
    pub(super) fn end_command_later(&self, tool: &ToolName, number: ReleaseNumber) {
        let (jobs, owner, end) = (self.api::<Job>(tool), self.owner(tool), self.end.clone());
        let (cluster, namespace) = (self.cluster.clone(), desired::namespace(&self.settings, tool));
        tokio::spawn(end.run_until_cancelled_owned(async move {
            let (name, how) = (desired::release_job_name(number), DeleteParams::background());
            loop {
                tokio::time::sleep(LATER).await;
                if cluster.has_another(&namespace).await.is_ok_and(|another| another) {
                    break;
                }
                if remove_own(&jobs, &owner, &name, &how).await.is_ok() {
                    break;
                }
            }
        }));
    }

    async fn end_command(&self, tool: &ToolName, number: ReleaseNumber) -> Result<(), ClusterError> {
        if self.cluster.has_another(&desired::namespace(&self.settings, tool)).await? {
            return Ok(());
        }
        let (name, how) = (desired::release_job_name(number), DeleteParams::background());
        remove_own(&self.api::<Job>(tool), &self.owner(tool), &name, &how).await?;
        let mut changes = self.seen.changes(tool);
        let gone = async {
            let mut told = None;
            while let Some(pod) = runs(&self.seen.tool(tool), number) {
                // A pod is gone when its container has ended; what deletes it after its Job would give it the usual time.
                if told.as_ref() != Some(&pod) {
                    remove(&self.api::<Pod>(tool), &pod, &DeleteParams::default().grace_period(1)).await?;
                    told = Some(pod);
                }
                if changes.changed().await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        timeout(GONE, gone).await.unwrap_or_else(|_| {
            tracing::warn!(%tool, release = %number, "a release command's pod is still there; its node may be lost");
            Ok(())
        })
    }

    /// Waits until the command's container runs or has run.
    async fn begun(&self, release: &RunnableRelease, notes: &Notes<'_>) -> Result<PodView, Fault> {
        let (tool, number) = (&release.release.tool, release.release.number);
        let mut changes = self.seen.changes(tool);
        let mut waiting = Waiting::new(Phase::Release, notes);
        waiting.is_new("release command: not started", 1);
        let until = Instant::now() + self.settings.start;
        loop {
            changes.mark_unchanged();
            let view = self.seen.tool(tool);
            if let Some(pod) = pod_of(&view, number) {
                if !matches!(pod.stage, Stage::Waiting { .. }) {
                    return Ok(pod.clone());
                }
                if let Some(trouble) = trouble(pod) {
                    return Err(self.explain(release, trouble, notes).await);
                }
            }
            let why = hindrance(&view, number);
            if Instant::now() >= until {
                let seconds = self.settings.start.as_secs();
                return Err(fault::not_ready(&release.release, waiting.what(), why, seconds));
            }
            // The tool itself is gone.
            if let Ok(Err(_)) = timeout_at(waiting.tell(why.as_ref(), until), changes.changed()).await {
                return Err(cancelled(&release.release));
            }
        }
    }

    /// Hears the command to its end.
    async fn follow(
        &self,
        release: &RunnableRelease,
        pod: &PodView,
        heard: &mut Heard<'_, '_>,
    ) -> ExitReason {
        let tool = &release.release.tool;
        let mut changes = self.seen.changes(tool);
        let (mut at, mut looks) = (None, 0);
        loop {
            // Looked at first: output that was read to its end after it is whole.
            let stage = self.seen.tool(tool).pods.get(&pod.name).map(|pod| pod.stage.clone());
            let whole = self.hear(pod, heard, &mut at).await;
            match stage {
                Some(Stage::Ended(exit)) if whole || looks >= LAST_LOOKS => return exit,
                Some(Stage::Ended(_)) => looks += 1,
                Some(_) => {}
                None => {
                    let ended_because = Some("its pod was removed".to_owned());
                    return ExitReason { ended_because, ..ExitReason::default() };
                }
            }
            let _ = timeout(AGAIN, changes.changed()).await;
        }
    }

    /// Hears the output from behind the last line that has come; whether it came to its end.
    async fn hear(&self, pod: &PodView, heard: &mut Heard<'_, '_>, at: &mut Option<Position>) -> bool {
        let api = self.api::<Pod>(&pod.id.tool);
        let params =
            LogParams { container: Some(CONTAINER.to_owned()), follow: true, ..LogParams::default() };
        let Ok(mut output) = Output::open(&api, &pod.name, params, *at, PIECE).await else { return false };
        loop {
            match output.next(at).await {
                Ok(Some(piece)) => heard.line(piece.text),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// The name of the pod of a release's command, as long as it may run. One that has ended goes with its Job, when the cluster likes.
fn runs(view: &ToolView, number: ReleaseNumber) -> Option<String> {
    commands(view).find(|pod| pod.id.release == number).map(|pod| pod.name.clone())
}

/// The pods of release commands that may run.
fn commands(view: &ToolView) -> impl Iterator<Item = &PodView> {
    view.all().filter(|pod| is_command(pod) && !matches!(pod.stage, Stage::Ended(_)))
}

/// The pod of a release's command.
fn pod_of(view: &ToolView, number: ReleaseNumber) -> Option<&PodView> {
    view.all().find(|pod| is_command(pod) && pod.id.release == number)
}

fn is_command(pod: &PodView) -> bool {
    pod.id.job() == Some(JobName::release().as_str())
}
