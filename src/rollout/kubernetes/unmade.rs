//! Runs by the clock of which the cluster makes no pod, as where a quota is used up: the Job's controller tries on and tells
//! nobody, so it is told here, in the tool's log.

use super::desired::first_pod;
use super::drift::{Due, Keeper};
use super::rollout::Rollouts;
use super::view::{self, PodView};
use hythe_cluster::{ClusterError, Object, try_create};
use hythe_model::{InstanceId, ToolName};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, JobSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

pub(super) const CRON: &str = "CronJob";
/// Between two looks, and how long a run's pod may take to be there.
const LOOK: Duration = Duration::from_secs(30);
const MADE: SignedDuration = SignedDuration::from_secs(15);

impl Rollouts {
    /// Tells of each once, for as long as this server leads.
    pub(super) async fn tell_unmade_runs(&self) {
        let mut told = HashSet::new();
        loop {
            let mut known = HashSet::new();
            for (run, message) in self.unmade_runs().await {
                let why = format!("the cluster refuses its pod: {message}");
                if told.contains(&run) || self.logs.never_began(&run, why).await {
                    known.insert(run);
                }
            }
            told = known;
            sleep(LOOK).await;
        }
    }

    /// Runs whose pod is refused, and in which words.
    async fn unmade_runs(&self) -> Vec<(InstanceId, String)> {
        let mut unmade = Vec::new();
        for (tool, cron, jobs) in self.runs.older_than(MADE) {
            let view = self.seen.tool(&tool);
            let has_pod = |job: &String| {
                let own = |pod: &PodView| {
                    pod.name.strip_prefix(job.as_str()).is_some_and(|rest| rest.starts_with('-'))
                };
                view.all().any(own)
            };
            let without: Vec<_> = jobs.into_iter().filter(|job| !has_pod(job)).collect();
            if without.is_empty() {
                continue;
            }
            let Some(spec) = self.wished_job(&tool, &cron) else {
                self.runs.forget(&tool, &cron);
                continue;
            };
            for job in without {
                unmade.extend(self.refused(&job, &spec).await);
            }
        }
        unmade
    }

    /// What a job's runs are made of.
    fn wished_job(&self, tool: &ToolName, cron: &str) -> Option<JobSpec> {
        let Due::Live(_, objects) = self.due(tool) else { return None };
        let is_it = |object: &&Object| object.resource.kind == CRON && object.value.name_any() == cron;
        let wished = serde_json::to_value(&objects.iter().find(is_it)?.value).ok()?;
        serde_json::from_value::<CronJob>(wished).ok()?.spec?.job_template.spec
    }

    async fn refused(&self, job: &str, spec: &JobSpec) -> Option<(InstanceId, String)> {
        let pod = first_pod(job, spec);
        let run = view::instance(&pod.metadata, job, 0)?;
        match try_create(&self.api::<Pod>(&run.tool), &pod).await {
            Err(ClusterError::Refused { message, .. }) => Some((run, message)),
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(%error, job, "it is not known why a run has no pod");
                None
            }
        }
    }
}

/// Runs by the clock that go on, as the cluster tells of them.
#[derive(Default)]
pub(super) struct Runs(Mutex<HashMap<(ToolName, String), Going>>);

/// Those of one job.
#[derive(Clone)]
struct Going {
    jobs: Vec<String>,
    /// When the last one was made.
    since: Timestamp,
}

impl Runs {
    fn all(&self) -> MutexGuard<'_, HashMap<(ToolName, String), Going>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a job's runs.
    pub(super) fn see(&self, cron: &DynamicObject) {
        let Some(tool) = view::tool(&cron.metadata) else { return };
        let status = &cron.data["status"];
        let name = |job: &Value| job["name"].as_str().map(str::to_owned);
        let jobs: Vec<_> = status["active"].as_array().into_iter().flatten().filter_map(name).collect();
        let since = status["lastScheduleTime"].as_str().and_then(|time| time.parse().ok());
        let key = (tool, cron.name_any());
        match since {
            Some(since) if !jobs.is_empty() => drop(self.all().insert(key, Going { jobs, since })),
            _ => drop(self.all().remove(&key)),
        }
    }

    /// Forgets a job that is gone, or goes.
    fn forget(&self, tool: &ToolName, cron: &str) {
        self.all().remove(&(tool.clone(), cron.to_owned()));
    }

    /// The tools, the jobs and their runs, of which the last one was made so long ago.
    fn older_than(&self, age: SignedDuration) -> Vec<(ToolName, String, Vec<String>)> {
        let now = Timestamp::now();
        let all = self.all();
        let old = all.iter().filter(|(_, going)| now.duration_since(going.since) >= age);
        old.map(|((tool, cron), going)| (tool.clone(), cron.clone(), going.jobs.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
