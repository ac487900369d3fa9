//! What a build is in the cluster: a pure function from request and settings to objects.

use super::PodSettings;
use super::image::{CARRIER, REPOSITORY};
use crate::environment::{APP, AUTHORITIES, LAYERS, LIFECYCLE, PLATFORM, PLATFORM_SIZE};
use crate::{BuildLimits, BuildRequest, NetworkSettings};
use hythe_carrier::{Access, places};
use hythe_cluster::fence::{self, PullAccess, amounts, labelled, port, quantity};
use hythe_cluster::{LABEL_TOOL, Object, Owner};
use hythe_model::{BuildId, Digest};
use hythe_registry::Tag;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, LimitRange, LimitRangeItem,
    LimitRangeSpec, LocalObjectReference, Pod, PodSpec, ResourceRequirements, Secret, SecretVolumeSource,
    Toleration, Volume, VolumeMount,
};
use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyPeer};
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The containers of a build's pod, in their order.
pub(crate) const RESTORE: &str = "restore";
pub(crate) const BUILD: &str = "build";
pub(crate) const EXPORT: &str = "export";
/// The label of everything of the builds' namespace, and its value.
const LABEL_PART: &str = "hythe.dev/part";
const PART: &str = "builds";
/// The build that a pod is of.
pub(crate) const LABEL_BUILD: &str = "hythe.dev/build";
/// The account of builds' pods; it has no rights and no token.
const ACCOUNT: &str = "build";
/// The Secret that a node pulls the builder's image with.
const PULL: &str = "registry";
/// The operator's authorities.
const BUNDLE: &str = "authorities";
const BUNDLE_KEY: &str = "ca-certificates.crt";
/// What the carrier may use.
const CARRIER_MEMORY: u64 = 512 << 20;
/// Bytes of what the lifecycle is asked and answers, and of what the carrier remembers: each twice the longest message.
const EXCHANGE_SIZE: u64 = 96 << 20;
const PRIVATE_SIZE: u64 = 64 << 20;
/// The part of its CPU and memory limits that a build is promised.
const PROMISED: u32 = 4;
/// What a cluster says of nodes that it hears nothing of, and for how many seconds a build may be on one.
const LOST_NODE: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const LOST_AFTER: i64 = 30;
/// How much longer than a build's own time its pod may live at all, in seconds, besides the time to start.
const SPARE: u64 = 15 * 60;

/// Whom everything of builds belongs to.
pub(crate) fn owner(settings: &PodSettings) -> Owner {
    Owner::new(&settings.platform, LABEL_PART, &PART)
}

fn meta(settings: &PodSettings, name: impl Into<String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some(settings.namespace.clone()),
        labels: Some(owner(settings).labels()),
        ..ObjectMeta::default()
    }
}

/// What belongs to one build: a sweep finds it by its label.
fn of_build(settings: &PodSettings, build: &BuildRequest) -> ObjectMeta {
    let mut metadata = meta(settings, name(build.id));
    metadata.labels.get_or_insert_default().extend([
        (LABEL_TOOL.to_owned(), build.tool.to_string()),
        (LABEL_BUILD.to_owned(), build.id.to_string()),
    ]);
    metadata
}

/// What a build's pod and Secret are called.
pub(crate) fn name(build: BuildId) -> String {
    format!("build-{build}")
}

/// What all builds have in common, as far as the cluster is concerned.
pub(crate) struct Wish<'a> {
    pub(crate) settings: &'a PodSettings,
    pub(crate) limits: &'a BuildLimits,
    pub(crate) network: &'a NetworkSettings,
    /// User and group that builds run as.
    pub(crate) user: (u32, u32),
    /// What the lifecycle's process sees.
    pub(crate) env: Vec<(String, String)>,
    /// The image that pods run.
    pub(crate) image: &'a Digest,
}

impl Wish<'_> {
    fn image(&self) -> String {
        format!("{}/{REPOSITORY}@{}", self.settings.registry, self.image)
    }
}

/// What stands around builds; the first is the namespace.
pub(crate) fn fence(wish: &Wish<'_>, pull: &PullAccess, bundle: Option<String>) -> Vec<Object> {
    let settings = wish.settings;
    let meta = |name: &str| meta(settings, name);
    let mut all = vec![Object::of(&fence::namespace(meta(&settings.namespace)))];
    let rights = |account| fence::rights(meta("hythe"), &settings.platform, account);
    all.extend(settings.account.as_ref().map(|account| Object::of(&rights(account))));
    all.extend([
        Object::of(&limits(wish.limits, meta("builds"))),
        Object::of(&fence::closed(meta("closed"))),
    ]);
    let egress = &wish.network.egress;
    if egress.enabled {
        all.push(Object::of(&fence::egress(
            meta("to-internet"),
            vec![fence::to_internet(&egress.allow_private)],
        )));
    }
    all.extend([
        Object::of(&fence::egress(meta("to-dns"), vec![fence::to_dns(&egress.dns)])),
        Object::of(&fence::egress(meta("to-registry"), to_registry(settings))),
        Object::of(&fence::account(meta(ACCOUNT))),
        Object::of(&fence::pull_secret(meta(PULL), &settings.registry, pull)),
    ]);
    all.extend(bundle.map(|text| {
        let data = Some(BTreeMap::from([(BUNDLE_KEY.to_owned(), text)]));
        Object::of(&ConfigMap { metadata: meta(BUNDLE), data, ..ConfigMap::default() })
    }));
    all
}

/// What a container without limits of its own gets; all of ours have theirs.
fn limits(limits: &BuildLimits, metadata: ObjectMeta) -> LimitRange {
    let each = amounts(limits.cpu_millis, limits.memory_bytes, limits.disk_bytes);
    let item =
        LimitRangeItem { type_: "Container".to_owned(), default: Some(each), ..LimitRangeItem::default() };
    LimitRange { metadata, spec: Some(LimitRangeSpec { limits: vec![item] }) }
}

/// The registry: its own address, where it is one, and its port in the platform's pods; no other port of either.
fn to_registry(settings: &PodSettings) -> Vec<NetworkPolicyEgressRule> {
    let (host, number) = settings.registry.rsplit_once(':').unwrap_or((&settings.registry, "443"));
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok().zip(number.parse().ok());
    let outside = address.map(|(address, number)| NetworkPolicyEgressRule {
        to: Some(vec![fence::host(&address)]),
        ports: Some(vec![port("TCP", number)]),
    });
    let inside = settings.registry_namespace.iter().map(|namespace| NetworkPolicyEgressRule {
        to: Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(labelled("kubernetes.io/metadata.name", namespace)),
            pod_selector: Some(labelled("app.kubernetes.io/name", "hythe")),
            ..NetworkPolicyPeer::default()
        }]),
        ports: Some(vec![port("TCP", settings.registry_port)]),
    });
    outside.into_iter().chain(inside).collect()
}

/// What only the carrier sees.
pub(crate) fn secret(
    settings: &PodSettings,
    request: &BuildRequest,
    access: &Access,
) -> Result<Secret, serde_json::Error> {
    let data = BTreeMap::from([
        ("access.json".to_owned(), ByteString(serde_json::to_vec(access)?)),
        ("env.json".to_owned(), ByteString(serde_json::to_vec(&request.env)?)),
    ]);
    Ok(Secret {
        metadata: of_build(settings, request),
        data: Some(data),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

/// Whether it is larger than a Secret may be (Kubernetes API, `MaxSecretSize`).
pub(crate) fn is_too_large(secret: &Secret) -> bool {
    const MOST: usize = 1 << 20;
    secret.data.iter().flatten().map(|(_, value)| value.0.len()).sum::<usize>() > MOST
}

/// The pod: restore, build and export, one after another; what it delivers gets this tag.
pub(crate) fn pod(wish: &Wish<'_>, build: &BuildRequest, delivery: &Tag) -> Pod {
    let Wish { settings, limits, .. } = wish;
    let metadata = of_build(settings, build);
    let (uid, gid) = wish.user;
    let deadline = limits.wall.as_secs() + settings.start.as_secs() + SPARE;
    let mut security = fence::pod_security();
    security.run_as_user = Some(uid.into());
    security.run_as_group = Some(gid.into());
    let spec = PodSpec {
        init_containers: Some(vec![carrier(wish, RESTORE, None, restore_mounts()), lifecycle(wish)]),
        containers: vec![carrier(wish, EXPORT, Some(delivery), export_mounts())],
        volumes: Some(volumes(wish, build.id)),
        restart_policy: Some("Never".to_owned()),
        // The platform's own clock decides; this one only has to be later.
        active_deadline_seconds: Some(i64::try_from(deadline).unwrap_or(i64::MAX)),
        termination_grace_period_seconds: Some(1),
        service_account_name: Some(ACCOUNT.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: Some(vec![LocalObjectReference { name: PULL.to_owned() }]),
        tolerations: Some(LOST_NODE.map(tolerated).into()),
        security_context: Some(security),
        ..PodSpec::default()
    };
    Pod { metadata, spec: Some(spec), ..Pod::default() }
}

/// A node in this state keeps the pod for a while, and not for the five minutes of others: somebody waits for the build.
fn tolerated(taint: &str) -> Toleration {
    Toleration {
        key: Some(taint.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: Some(LOST_AFTER),
        value: None,
    }
}

fn lifecycle(wish: &Wish<'_>) -> Container {
    let file = |name: &str| format!("{}/{name}", places::EXCHANGE);
    let named = |(name, value): &(String, String)| EnvVar {
        name: name.clone(),
        value: Some(value.clone()),
        value_from: None,
    };
    let limits = wish.limits;
    let mut mounts = vec![
        below("work", places::LAYERS, LAYERS),
        below("work", places::WORKSPACE, APP),
        mount("exchange", places::EXCHANGE),
        mount("platform", PLATFORM),
    ];
    if wish.network.ca_bundle.is_some() {
        mounts.push(VolumeMount { read_only: Some(true), ..below(BUNDLE, BUNDLE_KEY, AUTHORITIES) });
    }
    Container {
        name: BUILD.to_owned(),
        image: Some(wish.image()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec![LIFECYCLE.to_owned(), file(places::REQUEST), file(places::OUTCOME)]),
        env: Some(wish.env.iter().map(named).collect()),
        working_dir: Some(APP.to_owned()),
        volume_mounts: Some(mounts),
        resources: Some(ResourceRequirements {
            // Restored layers lie on the same disk.
            limits: Some(amounts(limits.cpu_millis, limits.memory_bytes, limits.layer().max_bytes)),
            requests: Some(amounts(
                limits.cpu_millis / PROMISED,
                limits.memory_bytes / u64::from(PROMISED),
                limits.disk_bytes / u64::from(PROMISED),
            )),
            ..ResourceRequirements::default()
        }),
        security_context: Some(fence::container_security(false)),
        ..Container::default()
    }
}

fn carrier(wish: &Wish<'_>, verb: &str, delivery: Option<&Tag>, mounts: Vec<VolumeMount>) -> Container {
    let limits = wish.limits;
    let mut command = vec![CARRIER.to_owned(), verb.to_owned()];
    command.extend(delivery.map(Tag::to_string));
    Container {
        name: verb.to_owned(),
        image: Some(wish.image()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(command),
        volume_mounts: Some(mounts),
        resources: Some(ResourceRequirements {
            limits: Some(amounts(limits.cpu_millis, CARRIER_MEMORY, limits.layer().max_bytes)),
            requests: Some(amounts(
                limits.cpu_millis / PROMISED,
                CARRIER_MEMORY / 4,
                limits.disk_bytes / u64::from(PROMISED),
            )),
            ..ResourceRequirements::default()
        }),
        security_context: Some(fence::container_security(true)),
        ..Container::default()
    }
}

fn restore_mounts() -> Vec<VolumeMount> {
    let mut mounts = export_mounts();
    for mount in &mut mounts {
        mount.read_only = mount.read_only.filter(|_| mount.name == "access");
    }
    mounts
}

/// All that the carrier sees; at the end it only reads.
fn export_mounts() -> Vec<VolumeMount> {
    let read_only = |mount| VolumeMount { read_only: Some(true), ..mount };
    vec![
        read_only(mount("access", places::ACCESS_DIR)),
        read_only(mount("work", places::WORK)),
        read_only(mount("exchange", places::EXCHANGE)),
        read_only(mount("private", places::PRIVATE)),
    ]
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn below(name: &str, sub: &str, path: &str) -> VolumeMount {
    VolumeMount { sub_path: Some(sub.to_owned()), ..mount(name, path) }
}

fn volumes(wish: &Wish<'_>, build: BuildId) -> Vec<Volume> {
    let empty = |name: &str, medium: Option<&str>, size: u64| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(str::to_owned),
            size_limit: Some(quantity(size)),
        }),
        ..Volume::default()
    };
    let mut volumes = vec![
        Volume {
            name: "access".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(name(build)),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
        empty("work", None, wish.limits.layer().max_bytes),
        empty("private", None, PRIVATE_SIZE),
        // In memory, because they hold the tool's build-time config.
        empty("exchange", Some("Memory"), EXCHANGE_SIZE),
        empty("platform", Some("Memory"), PLATFORM_SIZE),
    ];
    if wish.network.ca_bundle.is_some() {
        let bundle = ConfigMapVolumeSource { name: BUNDLE.to_owned(), ..ConfigMapVolumeSource::default() };
        volumes.push(Volume { name: BUNDLE.to_owned(), config_map: Some(bundle), ..Volume::default() });
    }
    volumes
}

#[cfg(test)]
mod tests;
