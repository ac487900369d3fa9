//! A Deployment for each process type, the Service of the web processes, and how many may be missing at once.

use super::names::{CANARY, LABEL_PROCESS, LABEL_RELEASE, of_pod, of_process};
use super::{Wish, pod, scale};
use hythe_cluster::{LABEL_TOOL, Object};
use hythe_model::ProcessType;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, Service, ServicePort, ServiceSpec, TopologySpreadConstraint,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;

/// How long a process that takes no traffic must stay up until it counts, in seconds: nothing asks it whether it is well. Two as on one
/// machine, one because a cluster's times are whole seconds, and one in which a node may not have told its end yet.
const SETTLING: u32 = 4;
/// The port that the web Service listens on.
const SERVICE_PORT: i32 = 80;

/// Pods of one process type that are made, counted and replaced together.
struct Set<'a> {
    kind: &'a ProcessType,
    name: String,
    count: u32,
}

/// The objects of the formation's processes, in the order of their types.
pub(crate) fn objects(wish: &Wish<'_>, config: &str) -> Vec<Object> {
    let mut all = Vec::new();
    for kind in wish.release.release.formation.0.keys() {
        let set = Set { kind, name: of_process(kind), count: scale::count(wish, kind) };
        if kind.is_web() {
            all.push(Object::of(&service(wish, &set)));
        }
        all.push(Object::of(&budget(wish, &set)));
        all.push(Object::of(&deployment(wish, &set, config)));
        all.extend(scale::range(wish.release, kind).map(|range| scale::autoscaler(wish, kind, range)));
    }
    all
}

/// The objects of a canary of so many web processes: beside those of the release before, which they leave alone.
pub(crate) fn canary(wish: &Wish<'_>, count: u32, config: &str) -> Vec<Object> {
    let set = Set { kind: &ProcessType::web(), name: CANARY.to_owned(), count };
    vec![Object::of(&service(wish, &set)), Object::of(&deployment(wish, &set, config))]
}

/// What finds the pods of a set, whatever their release.
fn pods_of(wish: &Wish<'_>, set: &Set<'_>) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_TOOL.to_owned(), wish.release.release.tool.to_string()),
        (LABEL_PROCESS.to_owned(), set.name.clone()),
    ])
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

fn meta(wish: &Wish<'_>, set: &Set<'_>) -> ObjectMeta {
    let mut meta = wish.meta(&set.name);
    meta.labels.get_or_insert_default().insert(LABEL_PROCESS.to_owned(), set.name.clone());
    meta
}

/// What the cluster makes endpoints of, which the router follows. It has no address: nobody would use it, a cluster has few, and
/// each is a rule on every node.
fn service(wish: &Wish<'_>, set: &Set<'_>) -> Service {
    let port = ServicePort {
        name: Some("http".to_owned()),
        port: SERVICE_PORT,
        target_port: Some(IntOrString::Int(wish.release.settings.port.into())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        selector: Some(pods_of(wish, set)),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    Service { metadata: meta(wish, set), spec: Some(spec), ..Service::default() }
}

/// One at a time may be taken away for a node's sake, and never one that is broken anyway instead of one that serves.
fn budget(wish: &Wish<'_>, set: &Set<'_>) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(selector(pods_of(wish, set))),
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget { metadata: meta(wish, set), spec: Some(spec), ..PodDisruptionBudget::default() }
}

fn deployment(wish: &Wish<'_>, set: &Set<'_>, config: &str) -> Deployment {
    let settings = &wish.release.settings;
    let rolling = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(1)),
        max_unavailable: Some(IntOrString::Int(0)),
    };
    let spec = DeploymentSpec {
        replicas: Some(i32::try_from(set.count).unwrap_or(i32::MAX)),
        // What a release was is kept by the platform, not by the cluster.
        revision_history_limit: Some(1),
        min_ready_seconds: Some(seconds(settling(wish, set.kind))),
        // Wished, so that a pause of somebody else's is changed back.
        paused: Some(false),
        // The platform's own clock decides; this one only has to be later.
        progress_deadline_seconds: Some(
            i32::try_from(settings.timeout.as_secs()).unwrap_or(i32::MAX / 2).saturating_add(600),
        ),
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(rolling),
        }),
        selector: selector(pods_of(wish, set)),
        template: template(wish, set, config),
    };
    Deployment { metadata: meta(wish, set), spec: Some(spec), ..Deployment::default() }
}

/// How long a pod must be ready until it is available, in seconds.
fn settling(wish: &Wish<'_>, kind: &ProcessType) -> u32 {
    let least = if kind.is_web() { 0 } else { SETTLING };
    wish.settings.min_ready_seconds.max(least)
}

fn seconds(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn template(wish: &Wish<'_>, set: &Set<'_>, config: &str) -> PodTemplateSpec {
    let mut spec = pod::of_process(wish, set.kind, config);
    spec.topology_spread_constraints = Some(
        ["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map(|key| spread(wish, set, key)).into(),
    );
    PodTemplateSpec { metadata: Some(of_pod(wish, set.kind, &set.name)), spec: Some(spec) }
}

/// Copies go to different nodes and zones where they can.
fn spread(wish: &Wish<'_>, set: &Set<'_>, key: &str) -> TopologySpreadConstraint {
    let mut labels = pods_of(wish, set);
    labels.insert(LABEL_RELEASE.to_owned(), wish.release.release.number.to_string());
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector(labels)),
        ..TopologySpreadConstraint::default()
    }
}
