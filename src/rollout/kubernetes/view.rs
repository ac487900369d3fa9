//! What is remembered of the cluster's objects: of each only what decides anything.

use super::desired::{FILES, LABEL_PROCESS, LABEL_RELEASE};
use crate::status::ExitReason;
use hythe_cluster::{GivenUp, LABEL_TOOL, fence, unschedulable};
use hythe_model::{InstanceId, Place, ProcessType, ReleaseNumber, ToolName};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::net::IpAddr;

/// The annotation that holds a process type as it is called.
const NOTE_PROCESS: &str = super::desired::NOTE_PROCESS;

/// Reasons of a container whose process a node could not begin, as where something is mounted on what is there already.
const UNSTARTED: &[&str] = &["StartError", "ContainerCannotRun"];

/// A pod of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodView {
    /// Its name.
    pub(crate) name: String,
    /// What it is to people; the attempt counts its container's restarts.
    pub(crate) id: InstanceId,
    /// The name of its Deployment, as its label says it.
    pub(crate) set: String,
    /// Digest of its image, as it was asked for.
    pub(crate) image: Option<String>,
    /// Its address, once it has one.
    pub(crate) address: Option<IpAddr>,
    /// Whether it is ready.
    pub(crate) ready: bool,
    /// Whether it was told to go.
    pub(crate) leaving: bool,
    /// Since when it is as it is.
    pub(crate) since: Timestamp,
    /// Where its container stands.
    pub(crate) stage: Stage,
    /// How the container before this one ended.
    pub(crate) last_exit: Option<ExitReason>,
    /// When its container ended, and the one before, as its node says.
    pub(crate) finished: Option<Timestamp>,
    pub(crate) last_finished: Option<Timestamp>,
    /// Why no node takes it, where none does.
    pub(crate) unschedulable: Option<String>,
    /// Why its node cannot begin its process, where it cannot.
    pub(crate) unstarted: Option<String>,
    /// Whether it has config as files.
    pub(crate) has_files: bool,
    /// Why its node has given it up, where it has. It stays as it is, and its Deployment makes another one.
    pub(crate) given_up: Option<GivenUp>,
}

/// Where a pod's container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing runs yet: the reason and the message, where the node gave any.
    Waiting { reason: String, message: String },
    /// It runs.
    Running,
    /// It has ended.
    Ended(ExitReason),
}

impl PodView {
    /// A pod of a process; `None` for other pods and for those that cannot be read.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let name = pod.metadata.name.clone()?;
        let status = pod.status.as_ref();
        let container = status.and_then(|status| status.container_statuses.as_ref()?.first());
        let restarts = container.map_or(0, |container| container.restart_count);
        let id = instance(&pod.metadata, &name, u32::try_from(restarts).unwrap_or(0))?;
        let condition = |kind: &str| {
            let all = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
            all.into_iter().find(|condition| condition.type_ == kind)
        };
        let ready = condition("Ready").filter(|condition| condition.status == "True");
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let running =
            container.and_then(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref());
        let since = ready
            .and_then(|ready| ready.last_transition_time.as_ref())
            .or(running)
            .map(|time| time.0)
            .or(created);
        let limits = Limits::of(pod);
        Some(Self {
            set: pod.metadata.labels.as_ref()?.get(LABEL_PROCESS)?.clone(),
            image: pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone()),
            address: status.and_then(|status| status.pod_ip.as_ref()?.parse().ok()),
            ready: ready.is_some(),
            leaving: pod.metadata.deletion_timestamp.is_some(),
            since: since.unwrap_or_else(Timestamp::now),
            stage: stage(pod, container, limits),
            last_exit: container.and_then(|container| {
                ended(container.last_state.as_ref()?.terminated.as_ref()?, limits).into()
            }),
            finished: container.and_then(|container| finished(container.state.as_ref())),
            last_finished: container.and_then(|container| finished(container.last_state.as_ref())),
            unschedulable: unschedulable(pod),
            unstarted: container.and_then(unstarted),
            has_files: has_files(pod),
            given_up: GivenUp::of(pod),
            name,
            id,
        })
    }

    /// Whether it may be that it waits for its config or for the key to its image.
    pub(crate) fn lacks_secret(&self) -> bool {
        let lacking = |reason: &str| ["CreateContainerConfigError", "ErrImagePull"].contains(&reason);
        matches!(&self.stage, Stage::Waiting { reason, .. } if lacking(reason))
    }

    /// Whether it may be that it waits for its files: of a volume that cannot be made a pod's status says nothing.
    pub(crate) fn may_lack_files(&self) -> bool {
        let making = |reason: &str| reason == "ContainerCreating";
        self.has_files && matches!(&self.stage, Stage::Waiting { reason, .. } if making(reason))
    }

    /// Whether it was ended for no fault of its own: its node gave it up, and not for what it wrote.
    pub(crate) fn was_lost(&self) -> bool {
        self.given_up.as_ref().is_some_and(|given_up| !given_up.wrote_too_much())
    }

    /// How many times its container was started again.
    pub(crate) fn restarts(&self) -> u32 {
        self.id.attempt
    }
}

fn has_files(pod: &Pod) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    volumes.into_iter().flatten().any(|volume| volume.name == FILES)
}

/// The tool that an object belongs to.
pub(crate) fn tool(meta: &ObjectMeta) -> Option<ToolName> {
    meta.labels.as_ref()?.get(LABEL_TOOL)?.parse().ok()
}

/// What a pod of these labels and this name is to people.
pub(crate) fn instance(meta: &ObjectMeta, name: &str, attempt: u32) -> Option<InstanceId> {
    let label = |key: &str| meta.labels.as_ref()?.get(key);
    let process: ProcessType = match meta.annotations.as_ref().and_then(|notes| notes.get(NOTE_PROCESS)) {
        Some(process) => process.parse().ok()?,
        None => label(LABEL_PROCESS)?.parse().ok()?,
    };
    let release: ReleaseNumber = label(LABEL_RELEASE)?.parse().ok()?;
    let place = Place::Name(name.rsplit('-').next().unwrap_or(name).to_owned());
    Some(InstanceId { tool: tool(meta)?, release, process, place, attempt })
}

/// Where a pod's only container stands.
pub(crate) fn stage_of(pod: &Pod) -> Stage {
    let container = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first());
    stage(pod, container, Limits::of(pod))
}

fn stage(pod: &Pod, container: Option<&ContainerStatus>, limits: Limits) -> Stage {
    let state = container.and_then(|container| container.state.as_ref());
    let end = state.and_then(|state| state.terminated.as_ref());
    // Before the container, which was killed because of it.
    if let Some(given_up) = GivenUp::of(pod) {
        return Stage::Ended(ended_by_node(&given_up, end, limits));
    }
    if let Some(end) = end {
        return Stage::Ended(ended(end, limits));
    }
    if state.is_some_and(|state| state.running.is_some()) {
        return Stage::Running;
    }
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        return Stage::Waiting { reason: text(&waiting.reason), message: text(&waiting.message) };
    }
    let (reason, message) =
        pod.status.clone().map(|status| (status.reason, status.message)).unwrap_or_default();
    Stage::Waiting { reason: reason.unwrap_or_default(), message: message.unwrap_or_default() }
}

/// What a pod's only container may use, in bytes, where it says so.
#[derive(Clone, Copy, Default)]
struct Limits {
    memory: Option<u64>,
    disk: Option<u64>,
}

impl Limits {
    fn of(pod: &Pod) -> Self {
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let limits = container.and_then(|container| container.resources.as_ref()?.limits.as_ref());
        let bytes = |name: &str| limits.and_then(|limits| fence::number(limits.get(name)?));
        Self { memory: bytes("memory"), disk: bytes("ephemeral-storage") }
    }
}

fn finished(state: Option<&ContainerState>) -> Option<Timestamp> {
    Some(state?.terminated.as_ref()?.finished_at.as_ref()?.0)
}

/// How long a container ran, in milliseconds.
fn ran(end: &ContainerStateTerminated) -> u64 {
    match (&end.started_at, &end.finished_at) {
        (Some(from), Some(to)) => u64::try_from(to.0.duration_since(from.0).as_millis()).unwrap_or(0),
        _ => 0,
    }
}

fn ended(end: &ContainerStateTerminated, limits: Limits) -> ExitReason {
    let killed = end.reason.as_deref() == Some("OOMKilled");
    let unstarted = is_unstarted(end).then(|| end.message.clone()).flatten();
    // A shell's way of telling a signal is the container runtime's, too.
    let signal = (end.exit_code > 128 && end.exit_code <= 160).then(|| end.exit_code - 128);
    ExitReason {
        code: signal.is_none().then_some(end.exit_code),
        signal,
        memory_limit: killed.then_some(limits.memory).flatten(),
        ended_because: unstarted,
        millis: ran(end),
        ..ExitReason::default()
    }
}

/// How what ran in a pod ended when its node gave that up. With what code it went then says nothing.
fn ended_by_node(given_up: &GivenUp, end: Option<&ContainerStateTerminated>, limits: Limits) -> ExitReason {
    let disk_limit = limits.disk.filter(|_| given_up.wrote_too_much());
    ExitReason {
        signal: disk_limit.map(|_| 9),
        disk_limit,
        ended_because: disk_limit.is_none().then(|| given_up.to_string()),
        millis: end.map_or(0, ran),
        ..ExitReason::default()
    }
}

fn is_unstarted(end: &ContainerStateTerminated) -> bool {
    end.reason.as_deref().is_some_and(|reason| UNSTARTED.contains(&reason))
}

/// Why a container's process could not be begun, now or at the last attempt.
fn unstarted(container: &ContainerStatus) -> Option<String> {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let mut ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    Some(ends.find(|end| is_unstarted(end))?.message.clone().unwrap_or_default())
}

/// A Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeploymentView {
    /// The process type's object name.
    pub(crate) name: String,
    /// The release in its template.
    pub(crate) release: Option<ReleaseNumber>,
    /// Whether its controller has seen what it wants.
    pub(crate) observed: bool,
    /// Pods wanted.
    pub(crate) wanted: i32,
    /// Pods of the template that are there.
    pub(crate) updated: i32,
    /// Pods of any template that are there.
    pub(crate) present: i32,
    /// Pods that have been ready long enough.
    pub(crate) available: i32,
    /// Why pods cannot be made, as in an exceeded quota.
    pub(crate) refused: Option<String>,
}

impl DeploymentView {
    pub(crate) fn of(deployment: &Deployment) -> Option<Self> {
        let (meta, spec) = (&deployment.metadata, deployment.spec.as_ref()?);
        let status = deployment.status.clone().unwrap_or_default();
        let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
        let conditions = status.conditions.unwrap_or_default();
        let refused = conditions
            .into_iter()
            .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
        Some(Self {
            name: meta.name.clone()?,
            release: labels.and_then(|labels| labels.get(LABEL_RELEASE)?.parse().ok()),
            observed: status.observed_generation >= meta.generation,
            wanted: spec.replicas.unwrap_or(1),
            updated: status.updated_replicas.unwrap_or(0),
            present: status.replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            refused: refused.map(|condition| condition.message.unwrap_or_default()),
        })
    }
}

/// Pods behind the web Service that take traffic, by name.
pub(crate) fn endpoints(slice: &EndpointSlice) -> Vec<String> {
    let serving = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
        endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready != Some(false))
    };
    let named =
        |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| endpoint.target_ref.as_ref()?.name.clone();
    slice.endpoints.iter().filter(serving).filter_map(named).collect()
}

#[cfg(test)]
mod tests;
