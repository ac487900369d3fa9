//! Instances by load: a `HorizontalPodAutoscaler`, and how many pods a Deployment asks for beside it.
//!
//! Server-side apply has no field that nobody sets: a Deployment without a count would fall back to one pod. So the count that load has
//! asked for last is written again; where it has changed in between, the cluster's controller writes its own once more.

use super::Wish;
use super::names::of_process;
use crate::runtime::RunnableRelease;
use hythe_cluster::Object;
use hythe_cluster::fence::millis;
use hythe_model::ProcessType;
use hythe_model::project::ScaleRange;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};

/// The range of a process type's pods; none where the release gives their number, or runs none.
pub(crate) fn range(release: &RunnableRelease, kind: &ProcessType) -> Option<ScaleRange> {
    let runs = release.release.formation.0.get(kind).is_some_and(|count| *count > 0);
    release.settings.scale_of(kind).filter(|_| runs)
}

/// How many pods of a process type to ask for.
pub(crate) fn count(wish: &Wish<'_>, kind: &ProcessType) -> u32 {
    let count = wish.release.release.formation.0.get(kind).copied().unwrap_or(0);
    let asked = || wish.running.and_then(|running| running.get(&of_process(kind))).copied();
    range(wish.release, kind).map_or(count, |range| asked().unwrap_or(count).clamp(range.min, range.max))
}

/// What changes the number of a process type's pods by their load: the part of its CPU that a pod uses on average.
pub(super) fn autoscaler(wish: &Wish<'_>, kind: &ProcessType, range: ScaleRange) -> Object {
    let count = |count| i32::try_from(count).unwrap_or(i32::MAX);
    let limit = wish.release.settings.limits_of(kind).cpu_millis;
    let used = u64::from(limit) * u64::from(range.cpu) / 100;
    let target = MetricTarget {
        type_: "AverageValue".to_owned(),
        average_value: Some(millis(u32::try_from(used).unwrap_or(u32::MAX).max(1))),
        ..MetricTarget::default()
    };
    let metric = MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: "cpu".to_owned(), target }),
        ..MetricSpec::default()
    };
    let spec = HorizontalPodAutoscalerSpec {
        scale_target_ref: CrossVersionObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: "Deployment".to_owned(),
            name: of_process(kind),
        },
        min_replicas: Some(count(range.min)),
        max_replicas: count(range.max),
        metrics: Some(vec![metric]),
        behavior: None,
    };
    let metadata = wish.meta(of_process(kind));
    Object::of(&HorizontalPodAutoscaler { metadata, spec: Some(spec), status: None })
}
