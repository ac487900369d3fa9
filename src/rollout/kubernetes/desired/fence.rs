//! What stands around a tool: its namespace, what it may use, whom it may reach, what it may pull.

use super::names::LABEL_PROCESS;
use super::{Object, PullAccess, Wish};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, Namespace, ResourceQuota, ResourceQuotaSpec, Secret,
    ServiceAccount,
};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// The account that a tool's pods run under; it has no rights and no token.
pub(crate) const ACCOUNT: &str = "tool";
/// The Secret that a node pulls the tool's images with.
pub(crate) const PULL: &str = "registry";
/// What is closed to a tool unless the operator opens it: private, shared, link-local, loopback and reserved ranges.
const CLOSED: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
const CLOSED_V6: &[&str] =
    &["::1/128", "64:ff9b::/96", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "ff00::/8"];

pub(crate) fn objects(wish: &Wish<'_>) -> Vec<Object> {
    let mut all = vec![
        Object::of(&namespace(wish)),
        Object::of(&quota(wish)),
        Object::of(&limits(wish)),
        Object::of(&closed(wish)),
        Object::of(&ingress(wish)),
    ];
    all.extend(egress(wish).iter().map(Object::of));
    all.push(Object::of(&account(wish)));
    all.extend(wish.pull.map(|pull| Object::of(&pull_secret(wish, pull))));
    all
}

fn namespace(wish: &Wish<'_>) -> Namespace {
    let mut metadata = wish.meta(wish.namespace());
    metadata.namespace = None;
    let levels = ["enforce", "warn", "audit"]
        .map(|mode| (format!("pod-security.kubernetes.io/{mode}"), "restricted".to_owned()));
    metadata.labels.get_or_insert_default().extend(levels);
    Namespace { metadata, ..Namespace::default() }
}

fn quantity(number: impl std::fmt::Display) -> Quantity {
    Quantity(number.to_string())
}

fn quota(wish: &Wish<'_>) -> ResourceQuota {
    let (quota, limits) = (&wish.settings.quota, &wish.settings.quota.limits);
    let hard = BTreeMap::from([
        ("pods".to_owned(), quantity(quota.pods)),
        ("limits.cpu".to_owned(), millis(limits.cpu_millis)),
        ("limits.memory".to_owned(), quantity(limits.memory_bytes)),
        ("limits.ephemeral-storage".to_owned(), quantity(limits.disk_bytes)),
        ("persistentvolumeclaims".to_owned(), quantity(0)),
        ("services.loadbalancers".to_owned(), quantity(0)),
        ("services.nodeports".to_owned(), quantity(0)),
    ]);
    ResourceQuota {
        metadata: wish.meta("tool"),
        spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
        ..ResourceQuota::default()
    }
}

/// Thousandths of a core in the form that the API server gives them back: whole cores where they are whole.
pub(crate) fn millis(millis: u32) -> Quantity {
    if millis.is_multiple_of(1000) { quantity(millis / 1000) } else { Quantity(format!("{millis}m")) }
}

/// What a container without limits of its own gets; all of ours have theirs.
fn limits(wish: &Wish<'_>) -> LimitRange {
    let limits = &wish.release.settings.limits;
    let each = BTreeMap::from([
        ("cpu".to_owned(), millis(limits.cpu_millis)),
        ("memory".to_owned(), quantity(limits.memory_bytes)),
        ("ephemeral-storage".to_owned(), quantity(limits.disk_bytes)),
    ]);
    let item =
        LimitRangeItem { type_: "Container".to_owned(), default: Some(each), ..LimitRangeItem::default() };
    LimitRange { metadata: wish.meta("tool"), spec: Some(LimitRangeSpec { limits: vec![item] }) }
}

fn policy(wish: &Wish<'_>, name: &str, spec: NetworkPolicySpec) -> NetworkPolicy {
    NetworkPolicy { metadata: wish.meta(name), spec: Some(spec) }
}

/// Nothing in and nothing out, but for what another policy allows.
fn closed(wish: &Wish<'_>) -> NetworkPolicy {
    let types = Some(vec!["Ingress".to_owned(), "Egress".to_owned()]);
    let everything = Some(LabelSelector::default());
    // Empty, not absent: a rule that somebody adds is to be seen as a difference.
    let none = NetworkPolicySpec {
        ingress: Some(Vec::new()),
        egress: Some(Vec::new()),
        ..NetworkPolicySpec::default()
    };
    policy(wish, "closed", NetworkPolicySpec { pod_selector: everything, policy_types: types, ..none })
}

/// The router reaches the web processes' port.
fn ingress(wish: &Wish<'_>) -> NetworkPolicy {
    let router = &wish.settings.router;
    let inside = router.namespace.iter().map(|namespace| NetworkPolicyPeer {
        namespace_selector: Some(labelled("kubernetes.io/metadata.name", namespace)),
        pod_selector: Some(labelled("app.kubernetes.io/component", "router")),
        ..NetworkPolicyPeer::default()
    });
    let outside = router.cidrs.iter().map(|cidr| block(cidr, &[]));
    let peers: Vec<_> = inside.chain(outside).collect();
    let rule = NetworkPolicyIngressRule {
        from: Some(peers),
        ports: Some(vec![port("TCP", wish.release.settings.port)]),
    };
    let spec = NetworkPolicySpec {
        pod_selector: Some(labelled(LABEL_PROCESS, "web")),
        policy_types: Some(vec!["Ingress".to_owned()]),
        // A rule without peers would let everybody in.
        ingress: Some(if rule.from.as_ref().is_none_or(Vec::is_empty) { Vec::new() } else { vec![rule] }),
        ..NetworkPolicySpec::default()
    };
    policy(wish, "from-router", spec)
}

fn egress(wish: &Wish<'_>) -> Vec<NetworkPolicy> {
    let settings = &wish.release.settings.egress;
    let out = |name: &str, rules: Vec<NetworkPolicyEgressRule>| {
        let spec = NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Egress".to_owned()]),
            egress: Some(rules),
            ..NetworkPolicySpec::default()
        };
        policy(wish, name, spec)
    };
    if !settings.enabled {
        return Vec::new();
    }
    let cluster_dns = NetworkPolicyPeer {
        namespace_selector: Some(labelled("kubernetes.io/metadata.name", "kube-system")),
        pod_selector: Some(labelled("k8s-app", "kube-dns")),
        ..NetworkPolicyPeer::default()
    };
    let servers = settings.dns.iter().map(|address| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        block(&format!("{address}/{bits}"), &[])
    });
    let dns = NetworkPolicyEgressRule {
        to: Some(std::iter::once(cluster_dns).chain(servers).collect()),
        ports: Some(vec![port("UDP", 53), port("TCP", 53)]),
    };
    let mut internet = vec![block("0.0.0.0/0", CLOSED), block("::/0", CLOSED_V6)];
    internet.extend(settings.allow_private.iter().map(|cidr| block(cidr, &[])));
    let internet = NetworkPolicyEgressRule { to: Some(internet), ports: None };
    vec![out("to-dns", vec![dns]), out("to-internet", vec![internet])]
}

fn labelled(key: &str, value: &str) -> LabelSelector {
    let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

fn block(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    let except: Vec<_> = except.iter().map(|&cidr| cidr.to_owned()).collect();
    let block = IPBlock { cidr: cidr.to_owned(), except: (!except.is_empty()).then_some(except) };
    NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number.into())),
        ..NetworkPolicyPort::default()
    }
}

fn account(wish: &Wish<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: wish.meta(ACCOUNT),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn pull_secret(wish: &Wish<'_>, pull: &PullAccess) -> Secret {
    let auth = STANDARD.encode(format!("{}:{}", pull.user, pull.password));
    let document = serde_json::json!({ "auths": { &wish.settings.registry: { "auth": auth } } });
    let data =
        BTreeMap::from([(".dockerconfigjson".to_owned(), ByteString(document.to_string().into_bytes()))]);
    Secret {
        metadata: wish.meta(PULL),
        data: Some(data),
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        ..Secret::default()
    }
}
