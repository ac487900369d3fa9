//! Runs of a tool's jobs, as pods show them; one started now, one ended.

use super::desired;
use super::fault;
use super::rollout::Rollouts;
use super::view::{PodView, Stage};
use crate::jobs::{JobRun, JobState, no_job, overlaps};
use hythe_cluster::{ClusterError, create, remove, try_create};
use hythe_model::{Fault, JobName, ProcessType, ToolName};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a quota may take to see that a pod has gone, and how often that is looked at.
const COUNTED: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(500);

impl Rollouts {
    /// Runs of the tool's jobs, the newest first.
    pub(crate) fn job_runs(&self, tool: &ToolName) -> Vec<JobRun> {
        let view = self.seen.tool(tool);
        let mut runs: Vec<_> = view.all().filter(|pod| pod.id.job().is_some()).map(run).collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.since));
        runs
    }

    /// Starts a run of one of the live release's jobs, now.
    pub(crate) async fn start_job(&self, tool: &ToolName, name: &JobName) -> Result<(), Fault> {
        let release = self.live_now(tool).await?.ok_or_else(|| no_job(tool, name))?;
        let job = release.release.project.cron.get(name).ok_or_else(|| no_job(tool, name))?;
        let kind = ProcessType::of_job(name);
        let goes_on = |run: &JobRun| run.id.process == kind && run.is_running();
        if !job.overlap && self.job_runs(tool).iter().any(goes_on) {
            return Err(overlaps(tool, name));
        }
        let pull = self.pull(tool);
        let object = desired::job_now(&self.wish(&release, pull.as_ref()), name, job)?;
        let started = async {
            self.try_pod(tool, &object).await?;
            create(&self.api::<Job>(tool), &object).await
        };
        started.await.map_err(|error| fault::job_not_started(tool, &error))
    }

    /// Whether the cluster would take the pod of a Job: where it does not, the Job's controller tries on and tells nobody.
    pub(super) async fn try_pod(&self, tool: &ToolName, job: &Job) -> Result<(), ClusterError> {
        let api = self.api::<Pod>(tool);
        let pod = desired::first_pod(&job.name_any(), &job.spec.clone().unwrap_or_default());
        let until = Instant::now() + COUNTED;
        loop {
            match try_create(&api, &pod).await {
                Err(ClusterError::Refused { message, .. })
                    if fault::is_quota(&message) && Instant::now() < until =>
                {
                    sleep(AGAIN).await;
                }
                tried => return tried,
            }
        }
    }

    /// Ends the run in this place; whether there was one that ran.
    pub(crate) async fn end_job(&self, tool: &ToolName, place: &str) -> Result<bool, Fault> {
        let view = self.seen.tool(tool);
        let own = |pod: &&PodView| pod.id.job().is_some() && pod.id.place.to_string() == place;
        let Some(pod) = view.all().find(own).filter(|pod| run(pod).is_running()) else {
            return Ok(false);
        };
        // A pod of a Job is called after it, and a random end.
        let job = pod.name.rsplit_once('-').map_or(pod.name.as_str(), |(job, _)| job);
        let removed = remove(&self.api::<Job>(tool), job, &DeleteParams::background()).await;
        removed.map_err(|error| fault::of_job(&error))?;
        Ok(true)
    }
}

fn run(pod: &PodView) -> JobRun {
    let state = match &pod.stage {
        Stage::Waiting { .. } => JobState::Starting,
        Stage::Running => JobState::Running,
        Stage::Ended(exit) => JobState::Ended(exit.clone()),
    };
    JobRun { id: pod.id.clone(), state, since: pod.since }
}
