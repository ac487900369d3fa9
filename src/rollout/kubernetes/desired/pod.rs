//! A pod of a tool: its one container, what it knows, what it may use, when it is well.

use super::{Wish, config, fence, mount};
use crate::settings::{Readiness, RunLimits};
use hythe_cluster::fence::{amounts, container_security, pod_security, quantity};
use hythe_model::ProcessType;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EmptyDirVolumeSource, EnvFromSource, EnvVar, EnvVarSource, HTTPGetAction,
    Lifecycle, LifecycleHandler, LocalObjectReference, ObjectFieldSelector, PodSpec, Probe,
    ResourceRequirements, SecretEnvSource, SleepAction, TCPSocketAction, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::time::Duration;

/// The container of a pod that is the tool's.
pub(crate) const CONTAINER: &str = "process";
/// The part of its CPU limit that an instance is promised: idle tools are many, busy ones are few.
const PROMISED_CPU: u32 = 10;

/// A pod of the tool around its one container: no rights, no token, no root.
pub(crate) fn pod(wish: &Wish<'_>, container: Container) -> PodSpec {
    let settings = &wish.release.settings;
    let scratch = Volume {
        name: "tmp".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: Some(quantity(settings.limits.disk_bytes)),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    };
    let pull = LocalObjectReference { name: fence::PULL.to_owned() };
    let scratch = settings.read_only.then_some(scratch).into_iter();
    let volumes: Vec<_> = scratch.chain(mount::volumes(wish)).chain(config::volume(wish)).collect();
    PodSpec {
        containers: vec![container],
        volumes: (!volumes.is_empty()).then_some(volumes),
        service_account_name: Some(fence::ACCOUNT.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: wish.pull.map(|_| vec![pull]),
        security_context: Some(pod_security()),
        ..PodSpec::default()
    }
}

/// A pod of a process type, with the time that it may take to go.
pub(crate) fn of_process(wish: &Wish<'_>, kind: &ProcessType, config: &str) -> PodSpec {
    let grace = seconds(wish.release.settings.grace_of(kind));
    PodSpec {
        termination_grace_period_seconds: Some(grace + i64::from(wish.settings.leave_seconds)),
        ..pod(wish, container(wish, kind, config))
    }
}

pub(super) fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX / 2)
}

fn container(wish: &Wish<'_>, kind: &ProcessType, config: &str) -> Container {
    let mut container = base(wish, config, wish.release.settings.limits_of(kind));
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
        let ready = &settings.readiness;
        container.startup_probe = Some(probe(wish, ready, 1, patience));
        container.readiness_probe = Some(probe(wish, ready, 5, 3));
        container.liveness_probe = settings.liveness.as_ref().map(|live| {
            let period = i32::try_from(live.every.duration().as_secs()).unwrap_or(i32::MAX);
            probe(
                wish,
                &Readiness::of(live.path.as_ref()),
                period,
                i32::try_from(live.failures).unwrap_or(i32::MAX),
            )
        });
    }
    container
}

/// The tool's image with its config and limits, and nothing to run yet.
pub(crate) fn base(wish: &Wish<'_>, config: &str, limits: &RunLimits) -> Container {
    let (release, settings) = (&wish.release.release, &wish.release.settings);
    let image = wish.settings.images.image(&release.tool, &release.image);
    let from = SecretEnvSource { name: config.to_owned(), optional: Some(false) };
    let scratch =
        VolumeMount { name: "tmp".to_owned(), mount_path: "/tmp".to_owned(), ..VolumeMount::default() };
    let scratch = settings.read_only.then_some(scratch).into_iter();
    let mounts: Vec<_> = scratch.chain(mount::places(wish)).chain(config::places(wish)).collect();
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image),
        // A digest never changes.
        image_pull_policy: Some("IfNotPresent".to_owned()),
        env: Some(env(wish)),
        env_from: Some(vec![EnvFromSource { secret_ref: Some(from), ..EnvFromSource::default() }]),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        resources: Some(resources(limits)),
        security_context: Some(container_security(settings.read_only)),
        ..Container::default()
    }
}

/// Words as a cluster leaves them alone: it would put values of the environment in place of `$(NAME)`.
pub(crate) fn literal(words: Vec<String>) -> Vec<String> {
    words.into_iter().map(|word| word.replace('$', "$$")).collect()
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

/// A variable of the environment.
pub(super) fn named(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}

fn resources(limits: &RunLimits) -> ResourceRequirements {
    let most = amounts(limits.cpu_millis, limits.memory_bytes, limits.disk_bytes);
    let cpu = (limits.cpu_millis / PROMISED_CPU).max(1);
    let promised = amounts(cpu, limits.memory_bytes / 2, limits.disk_bytes / 10);
    ResourceRequirements { limits: Some(most), requests: Some(promised), ..ResourceRequirements::default() }
}

fn probe(wish: &Wish<'_>, asked: &Readiness, period: i32, failures: i32) -> Probe {
    let port = IntOrString::Int(wish.release.settings.port.into());
    let mut probe = Probe {
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    };
    match asked {
        Readiness::Tcp => probe.tcp_socket = Some(TCPSocketAction { port, ..TCPSocketAction::default() }),
        Readiness::Http { path } => {
            probe.http_get =
                Some(HTTPGetAction { path: Some(path.clone()), port, ..HTTPGetAction::default() });
        }
    }
    probe
}
