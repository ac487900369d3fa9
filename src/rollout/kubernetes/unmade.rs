//! Runs by the clock of which the cluster makes no pod, as where a quota is used up: the Job's controller tries on and tells
//! nobody, so it is told here, in the tool's log.

use super::desired::first_pod;
use super::rollout::Rollouts;
use super::view;
use hythe_cluster::{ClusterError, patient, try_create};
use hythe_model::InstanceId;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::sleep;

/// Between two looks, and how long a run's pod may take to be there.
const LOOK: Duration = Duration::from_secs(30);
const MADE: SignedDuration = SignedDuration::from_secs(15);

impl Rollouts {
    /// Tells of each once, for as long as this server leads.
    pub(super) async fn tell_unmade_runs(&self) {
        let mut told = HashSet::new();
        loop {
            match self.unmade_runs().await {
                Ok(runs) => {
                    let mut known = HashSet::new();
                    for (run, message) in runs {
                        let why = format!("the cluster refuses its pod: {message}");
                        if told.contains(&run) || self.logs.never_began(&run, why).await {
                            known.insert(run);
                        }
                    }
                    told = known;
                }
                Err(error) => tracing::warn!(%error, "runs by the clock could not be looked at"),
            }
            sleep(LOOK).await;
        }
    }

    /// Runs whose pod is refused, and in which words.
    async fn unmade_runs(&self) -> Result<Vec<(InstanceId, String)>, ClusterError> {
        let all: Api<CronJob> = Api::all(self.cluster.client.clone());
        // As the API server remembers it.
        let ours =
            ListParams::default().labels(&hythe_cluster::selector(&self.settings.platform)).match_any();
        let mut unmade = Vec::new();
        for cron in patient("list jobs", || all.list(&ours)).await? {
            for job in self.jobs_without_pods(&cron) {
                unmade.extend(self.refused(&cron, &job).await);
            }
        }
        Ok(unmade)
    }

    /// The names of what a job runs now, but for those of which a pod was seen.
    fn jobs_without_pods(&self, cron: &CronJob) -> Vec<String> {
        let Some((tool, status)) = view::tool(&cron.metadata).zip(cron.status.as_ref()) else {
            return Vec::new();
        };
        let since = status.last_schedule_time.as_ref().map(|time| Timestamp::now().duration_since(time.0));
        if since.is_none_or(|since| since < MADE) {
            return Vec::new();
        }
        let view = self.seen.tool(&tool);
        let has_pod = |job: &String| {
            let own = |pod: &view::PodView| {
                pod.name.strip_prefix(job.as_str()).is_some_and(|rest| rest.starts_with('-'))
            };
            view.all().any(own)
        };
        let active = status.active.iter().flatten().filter_map(|job| job.name.clone());
        active.filter(|job| !has_pod(job)).collect()
    }

    async fn refused(&self, cron: &CronJob, job: &str) -> Option<(InstanceId, String)> {
        let pod = first_pod(job, cron.spec.as_ref()?.job_template.spec.as_ref()?);
        let run = view::instance(&pod.metadata, job, 0)?;
        match try_create("start a pod", &self.api::<Pod>(&run.tool), &pod).await {
            Err(ClusterError::Refused { message, .. }) => Some((run, message)),
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(%error, job = cron.name_any(), "it is not known why a run has no pod");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
