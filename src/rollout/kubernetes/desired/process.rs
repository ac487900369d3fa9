//! A Deployment for each process type, the Service of the web processes, and how many may be missing at once.

use super::names::{LABEL_PROCESS, LABEL_RELEASE, NOTE_PROCESS, of_process};
use super::{Wish, fence};
use crate::runtime::Readiness;
use hythe_cluster::fence::{amounts, container_security, pod_security, quantity};
use hythe_cluster::{LABEL_TOOL, Object};
use hythe_model::ProcessType;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EmptyDirVolumeSource, EnvFromSource, EnvVar, EnvVarSource, HTTPGetAction,
    Lifecycle, LifecycleHandler, LocalObjectReference, ObjectFieldSelector, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SecretEnvSource, Service, ServicePort, ServiceSpec, SleepAction, TCPSocketAction,
    TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;

/// The container of a pod that is the tool's.
pub(crate) const CONTAINER: &str = "process";
/// The port that the web Service listens on.
const SERVICE_PORT: i32 = 80;
/// The part of its CPU limit that an instance is promised: idle tools are many, busy ones are few.
const PROMISED_CPU: u32 = 10;

/// The objects of the formation's processes, in the order of their types.
pub(crate) fn objects(wish: &Wish<'_>, config: &str) -> Vec<Object> {
    let mut all = Vec::new();
    for (kind, count) in &wish.release.release.formation.0 {
        if kind.is_web() {
            all.push(Object::of(&service(wish, kind)));
        }
        all.push(Object::of(&budget(wish, kind)));
        all.push(Object::of(&deployment(wish, kind, *count, config)));
    }
    all
}

/// What finds the pods of a process type, whatever their release.
fn pods_of(wish: &Wish<'_>, kind: &ProcessType) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_TOOL.to_owned(), wish.release.release.tool.to_string()),
        (LABEL_PROCESS.to_owned(), of_process(kind)),
    ])
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

fn meta(wish: &Wish<'_>, kind: &ProcessType) -> ObjectMeta {
    let mut meta = wish.meta(of_process(kind));
    meta.labels.get_or_insert_default().insert(LABEL_PROCESS.to_owned(), of_process(kind));
    meta
}

fn service(wish: &Wish<'_>, kind: &ProcessType) -> Service {
    let port = ServicePort {
        name: Some("http".to_owned()),
        port: SERVICE_PORT,
        target_port: Some(IntOrString::Int(wish.release.settings.port.into())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        selector: Some(pods_of(wish, kind)),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    Service { metadata: meta(wish, kind), spec: Some(spec), ..Service::default() }
}

/// One at a time may be taken away for a node's sake, and never one that is broken anyway instead of one that serves.
fn budget(wish: &Wish<'_>, kind: &ProcessType) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(selector(pods_of(wish, kind))),
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget { metadata: meta(wish, kind), spec: Some(spec), ..PodDisruptionBudget::default() }
}

fn deployment(wish: &Wish<'_>, kind: &ProcessType, count: u32, config: &str) -> Deployment {
    let settings = &wish.release.settings;
    let rolling = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(1)),
        max_unavailable: Some(IntOrString::Int(0)),
    };
    let spec = DeploymentSpec {
        replicas: Some(i32::try_from(count).unwrap_or(i32::MAX)),
        // What a release was is kept by the platform, not by the cluster.
        revision_history_limit: Some(1),
        min_ready_seconds: Some(seconds(wish.settings.min_ready_seconds)),
        // The platform's own clock decides; this one only has to be later.
        progress_deadline_seconds: Some(
            i32::try_from(settings.timeout.as_secs()).unwrap_or(i32::MAX / 2).saturating_add(600),
        ),
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(rolling),
        }),
        selector: selector(pods_of(wish, kind)),
        template: template(wish, kind, config),
        ..DeploymentSpec::default()
    };
    Deployment { metadata: meta(wish, kind), spec: Some(spec), ..Deployment::default() }
}

fn seconds(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn template(wish: &Wish<'_>, kind: &ProcessType, config: &str) -> PodTemplateSpec {
    let mut labels = super::names::labels(wish);
    labels.extend(pods_of(wish, kind));
    labels.insert(LABEL_RELEASE.to_owned(), wish.release.release.number.to_string());
    let notes = BTreeMap::from([(NOTE_PROCESS.to_owned(), kind.to_string())]);
    let metadata = ObjectMeta { labels: Some(labels), annotations: Some(notes), ..ObjectMeta::default() };
    let mut spec = pod(wish, container(wish, kind, config));
    spec.topology_spread_constraints = Some(
        ["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map(|key| spread(wish, kind, key)).into(),
    );
    PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) }
}

/// Copies go to different nodes and zones where they can.
fn spread(wish: &Wish<'_>, kind: &ProcessType, key: &str) -> TopologySpreadConstraint {
    let mut labels = pods_of(wish, kind);
    labels.insert(LABEL_RELEASE.to_owned(), wish.release.release.number.to_string());
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector(labels)),
        ..TopologySpreadConstraint::default()
    }
}

/// A pod of the tool around its one container: no rights, no token, no root.
pub(crate) fn pod(wish: &Wish<'_>, container: Container) -> PodSpec {
    let settings = &wish.release.settings;
    let grace = i64::try_from(settings.grace.as_secs()).unwrap_or(i64::MAX / 2)
        + i64::from(wish.settings.leave_seconds);
    let scratch = Volume {
        name: "tmp".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: Some(quantity(settings.limits.disk_bytes)),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    };
    let pull = LocalObjectReference { name: fence::PULL.to_owned() };
    PodSpec {
        containers: vec![container],
        volumes: settings.read_only.then(|| vec![scratch]),
        service_account_name: Some(fence::ACCOUNT.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: wish.pull.map(|_| vec![pull]),
        termination_grace_period_seconds: Some(grace),
        security_context: Some(pod_security()),
        ..PodSpec::default()
    }
}

fn container(wish: &Wish<'_>, kind: &ProcessType, config: &str) -> Container {
    let mut container = base(wish, config);
    container.command = Some(vec![format!("/cnb/process/{kind}")]);
    container.env.get_or_insert_default().push(named("HYTHE_PROCESS", kind.to_string()));
    // A pod leaves the route when it is told to go; until every router knows, it serves.
    let leave = SleepAction { seconds: wish.settings.leave_seconds.into() };
    let hook = LifecycleHandler { sleep: Some(leave), ..LifecycleHandler::default() };
    container.lifecycle = (wish.settings.leave_seconds > 0 && kind.is_web())
        .then(|| Lifecycle { pre_stop: Some(hook), ..Lifecycle::default() });
    if kind.is_web() {
        let settings = &wish.release.settings;
        container.ports = Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: settings.port.into(),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]);
        // Later than the platform's own clock, which tells the reason.
        let patience = i32::try_from(settings.timeout.as_secs()).unwrap_or(i32::MAX / 2).saturating_add(30);
        container.startup_probe = Some(probe(wish, 1, patience));
        container.readiness_probe = Some(probe(wish, 5, 3));
    }
    container
}

/// The tool's image with its config and limits, and nothing to run yet.
pub(crate) fn base(wish: &Wish<'_>, config: &str) -> Container {
    let (release, settings) = (&wish.release.release, &wish.release.settings);
    let image = format!("{}/{}@{}", wish.settings.registry, wish.release.repository, release.image);
    let from = SecretEnvSource { name: config.to_owned(), optional: Some(false) };
    let scratch =
        VolumeMount { name: "tmp".to_owned(), mount_path: "/tmp".to_owned(), ..VolumeMount::default() };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image),
        // A digest never changes.
        image_pull_policy: Some("IfNotPresent".to_owned()),
        env: Some(env(wish)),
        env_from: Some(vec![EnvFromSource { secret_ref: Some(from), ..EnvFromSource::default() }]),
        volume_mounts: settings.read_only.then(|| vec![scratch]),
        resources: Some(resources(wish)),
        security_context: Some(container_security(settings.read_only)),
        ..Container::default()
    }
}

/// What every process of a tool knows of itself.
fn env(wish: &Wish<'_>) -> Vec<EnvVar> {
    let release = &wish.release.release;
    let values = [
        ("PORT", wish.release.settings.port.to_string()),
        ("HYTHE_TOOL", release.tool.to_string()),
        ("HYTHE_RELEASE", release.number.to_string()),
    ];
    let mut env: Vec<_> = values.map(|(name, value)| named(name, value)).into();
    let field =
        ObjectFieldSelector { field_path: "metadata.name".to_owned(), api_version: Some("v1".to_owned()) };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    env.push(EnvVar { name: "HYTHE_INSTANCE".to_owned(), value: None, value_from: Some(source) });
    env
}

fn named(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}

fn resources(wish: &Wish<'_>) -> ResourceRequirements {
    let limits = &wish.release.settings.limits;
    let most = amounts(limits.cpu_millis, limits.memory_bytes, limits.disk_bytes);
    let cpu = (limits.cpu_millis / PROMISED_CPU).max(1);
    let promised = amounts(cpu, limits.memory_bytes / 2, limits.disk_bytes / 10);
    ResourceRequirements { limits: Some(most), requests: Some(promised), ..ResourceRequirements::default() }
}

fn probe(wish: &Wish<'_>, period: i32, failures: i32) -> Probe {
    let port = IntOrString::Int(wish.release.settings.port.into());
    let mut probe = Probe {
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    };
    match &wish.release.settings.readiness {
        Readiness::Tcp => probe.tcp_socket = Some(TCPSocketAction { port, ..TCPSocketAction::default() }),
        Readiness::Http { path } => {
            probe.http_get =
                Some(HTTPGetAction { path: Some(path.clone()), port, ..HTTPGetAction::default() });
        }
    }
    probe
}
