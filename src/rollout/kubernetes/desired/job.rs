//! Jobs: the release's command, once; and what runs by the clock.

use super::names::{of_pod, of_process};
use super::{Wish, beneath, config, pod};
use crate::command;
use crate::one_off::started;
use hythe_cluster::Object;
use hythe_model::project::{self, ReleaseCommand};
use hythe_model::{Fault, JobName, ProcessType, ReleaseNumber};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job, JobSpec, JobTemplateSpec};
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use std::time::Duration;

/// Seconds for which a Job that has ended is kept, so that a server which was killed finds out how.
const KEPT: i32 = 3600;
/// Seconds by which a run may begin late; after that it is left out.
const LATE: i64 = 100;
/// Runs of each job that are kept once they have ended, of those that went well and of those that did not.
const HISTORY: i32 = 3;

/// The name of a release's Job.
pub(crate) fn release_job_name(number: ReleaseNumber) -> String {
    format!("release-{number}")
}

/// What has to be there first, and the Job of the release's command.
pub(crate) fn release_job(wish: &Wish<'_>, command: &ReleaseCommand) -> Result<(Vec<Object>, Job), Fault> {
    let (objects, config) = beneath(wish)?;
    let kind = ProcessType::of_job(&JobName::release());
    // A Job's clock begins with its making, ours with its container: this one only has to be later.
    let deadline = command.timeout.duration() + wish.settings.start;
    let spec = JobSpec {
        ttl_seconds_after_finished: Some(KEPT),
        ..spec(wish, &kind, &command.command, deadline, &config)
    };
    let metadata = wish.meta(release_job_name(wish.release.release.number));
    Ok((objects, Job { metadata, spec: Some(spec), status: None }))
}

/// What runs by the clock.
pub(crate) fn cron(wish: &Wish<'_>, config: &str) -> Vec<Object> {
    let jobs = wish.release.release.project.cron.iter();
    jobs.map(|(name, job)| Object::of(&cron_job(wish, name, job, config))).collect()
}

fn cron_job(wish: &Wish<'_>, name: &JobName, job: &project::CronJob, config: &str) -> CronJob {
    let policy = if job.overlap { "Allow" } else { "Forbid" };
    let spec = CronJobSpec {
        schedule: job.schedule.to_string(),
        time_zone: Some("Etc/UTC".to_owned()),
        concurrency_policy: Some(policy.to_owned()),
        // Wished, so that somebody else's is changed back.
        suspend: Some(false),
        starting_deadline_seconds: Some(LATE),
        successful_jobs_history_limit: Some(HISTORY),
        failed_jobs_history_limit: Some(HISTORY),
        job_template: JobTemplateSpec { metadata: None, spec: Some(of_cron(wish, name, job, config)) },
    };
    CronJob { metadata: wish.meta(format!("cron-{name}")), spec: Some(spec), status: None }
}

/// A run of a job, now.
pub(crate) fn job_now(wish: &Wish<'_>, name: &JobName, job: &project::CronJob) -> Result<Job, Fault> {
    let secret = config::variables(wish)?;
    let spec =
        JobSpec { ttl_seconds_after_finished: Some(KEPT), ..of_cron(wish, name, job, &secret.name_any()) };
    let metadata = wish.meta(format!("cron-{name}-{:08x}", rand::random::<u32>()));
    Ok(Job { metadata, spec: Some(spec), status: None })
}

/// The pod that a Job's controller makes of it.
pub(crate) fn first_pod(job: &str, spec: &JobSpec) -> Pod {
    let template = spec.template.clone();
    let metadata =
        ObjectMeta { generate_name: Some(format!("{job}-")), ..template.metadata.unwrap_or_default() };
    Pod { metadata, spec: template.spec, status: None }
}

fn of_cron(wish: &Wish<'_>, name: &JobName, job: &project::CronJob, config: &str) -> JobSpec {
    spec(wish, &ProcessType::of_job(name), &job.command, job.timeout.duration(), config)
}

fn spec(
    wish: &Wish<'_>,
    kind: &ProcessType,
    command: &project::CommandLine,
    deadline: Duration,
    config: &str,
) -> JobSpec {
    let processes = &wish.release.release.processes;
    let words = started(processes, &command::words(command, processes));
    JobSpec {
        // It may have done half of its work: whether it can be run again, only its writer knows.
        backoff_limit: Some(0),
        active_deadline_seconds: Some(pod::seconds(deadline)),
        template: template(wish, kind, words, config),
        ..JobSpec::default()
    }
}

/// A pod that runs one command to its end.
fn template(wish: &Wish<'_>, kind: &ProcessType, words: Vec<String>, config: &str) -> PodTemplateSpec {
    let mut container = pod::base(wish, config, &wish.release.settings.limits);
    container.command = Some(pod::literal(words));
    let spec = PodSpec {
        restart_policy: Some("Never".to_owned()),
        termination_grace_period_seconds: Some(pod::seconds(wish.release.settings.grace)),
        ..pod::pod(wish, container)
    };
    PodTemplateSpec { metadata: Some(of_pod(wish, kind, &of_process(kind))), spec: Some(spec) }
}
