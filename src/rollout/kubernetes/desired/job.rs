//! A Job that runs the release's command, once.

use super::names::{LABEL_PROCESS, LABEL_RELEASE, NOTE_PROCESS, labels, of_process};
use super::{Wish, config, fence, pod};
use crate::command;
use hythe_cluster::Object;
use hythe_model::project::ReleaseCommand;
use hythe_model::{Fault, JobName, ProcessType};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;

/// Seconds for which a Job that has ended is kept, so that a server which was killed finds out how.
const KEPT: i32 = 3600;

/// The name of a release's Job.
pub(crate) fn release_job_name(wish: &Wish<'_>) -> String {
    format!("release-{}", wish.release.release.number)
}

/// What has to be there first, and the Job of the release's command.
pub(crate) fn release_job(wish: &Wish<'_>, command: &ReleaseCommand) -> Result<(Vec<Object>, Job), Fault> {
    let secret = config::secret(wish)?;
    let argv = command::one_off(wish.release, command).command();
    let spec = JobSpec {
        // It may have done half of its work: whether it can be run again, only its writer knows.
        backoff_limit: Some(0),
        active_deadline_seconds: Some(
            i64::try_from(command.timeout.duration().as_secs()).unwrap_or(i64::MAX),
        ),
        ttl_seconds_after_finished: Some(KEPT),
        template: template(wish, &kind("release"), argv, &secret.name_any()),
        ..JobSpec::default()
    };
    let mut objects = fence::objects(wish);
    objects.push(Object::of(&secret));
    Ok((objects, Job { metadata: wish.meta(release_job_name(wish)), spec: Some(spec), status: None }))
}

/// The process type of a job.
fn kind(name: &str) -> ProcessType {
    let name: Result<JobName, _> = name.parse();
    ProcessType::of_job(&name.unwrap_or_else(|error| unreachable!("names of jobs are labels: {error}")))
}

/// A pod that runs one command to its end.
fn template(wish: &Wish<'_>, kind: &ProcessType, argv: Vec<String>, config: &str) -> PodTemplateSpec {
    let mut container = pod::base(wish, config, &wish.release.settings.limits);
    container.command = Some(pod::literal(argv));
    let mut all = labels(wish);
    all.insert(LABEL_RELEASE.to_owned(), wish.release.release.number.to_string());
    all.insert(LABEL_PROCESS.to_owned(), of_process(kind));
    let notes = BTreeMap::from([(NOTE_PROCESS.to_owned(), kind.to_string())]);
    let metadata = ObjectMeta { labels: Some(all), annotations: Some(notes), ..ObjectMeta::default() };
    let spec = PodSpec { restart_policy: Some("Never".to_owned()), ..pod::pod(wish, container) };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) }
}
