//! What stands around a tool: its namespace, what it may use, whom it may reach, what it may pull.

use super::Wish;
use super::names::{CANARY, LABEL_PROCESS};
use hythe_cluster::Object;
use hythe_cluster::fence::{self, amounts, block, labelled, millis, port, quantity, to_dns, to_internet};
use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, ResourceQuota, ResourceQuotaSpec,
};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use std::collections::BTreeMap;

/// The account that a tool's pods run under; it has no rights and no token.
pub(crate) const ACCOUNT: &str = "tool";
/// The Secret that a node pulls the tool's images with.
pub(crate) const PULL: &str = "registry";
pub(crate) fn objects(wish: &Wish<'_>) -> Vec<Object> {
    let mut all = vec![Object::of(&fence::namespace(wish.meta(wish.namespace())))];
    let rights = |account| fence::rights(wish.meta("hythe"), &wish.settings.platform, account);
    all.extend(wish.settings.account.as_ref().map(|account| Object::of(&rights(account))));
    all.extend([
        Object::of(&quota(wish)),
        Object::of(&limits(wish)),
        Object::of(&fence::closed(wish.meta("closed"))),
        Object::of(&ingress(wish)),
    ]);
    all.extend(egress(wish).iter().map(Object::of));
    all.push(Object::of(&fence::account(wish.meta(ACCOUNT))));
    let secret = |pull| fence::pull_secret(wish.meta(PULL), wish.settings.images.host(), pull);
    all.extend(wish.pull.map(|pull| Object::of(&secret(pull))));
    all
}

fn quota(wish: &Wish<'_>) -> ResourceQuota {
    let quota = wish.settings.quota_of(&wish.release.release.tool);
    let limits = &quota.limits;
    let hard = BTreeMap::from([
        ("pods".to_owned(), quantity(quota.pods)),
        ("limits.cpu".to_owned(), millis(limits.cpu_millis)),
        ("limits.memory".to_owned(), quantity(limits.memory_bytes)),
        ("limits.ephemeral-storage".to_owned(), quantity(limits.disk_bytes)),
        ("services.loadbalancers".to_owned(), quantity(0_u64)),
        ("services.nodeports".to_owned(), quantity(0_u64)),
    ]);
    ResourceQuota {
        metadata: wish.meta("tool"),
        spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
        ..ResourceQuota::default()
    }
}

/// What a container without limits of its own gets; all of ours have theirs.
fn limits(wish: &Wish<'_>) -> LimitRange {
    let limits = &wish.release.settings.limits;
    let each = amounts(limits.cpu_millis, limits.memory_bytes, limits.disk_bytes);
    let item =
        LimitRangeItem { type_: "Container".to_owned(), default: Some(each), ..LimitRangeItem::default() };
    LimitRange { metadata: wish.meta("tool"), spec: Some(LimitRangeSpec { limits: vec![item] }) }
}

/// The router reaches the web processes' port.
fn ingress(wish: &Wish<'_>) -> NetworkPolicy {
    let router = &wish.settings.router;
    let inside = router.namespace.iter().map(|namespace| NetworkPolicyPeer {
        namespace_selector: Some(labelled("kubernetes.io/metadata.name", namespace)),
        pod_selector: Some(labelled("app.kubernetes.io/name", "hythe")),
        ..NetworkPolicyPeer::default()
    });
    let outside = router.cidrs.iter().map(|cidr| block(cidr));
    let peers: Vec<_> = inside.chain(outside).collect();
    let rule = NetworkPolicyIngressRule {
        from: Some(peers),
        ports: Some(vec![port("TCP", wish.release.settings.port)]),
    };
    let spec = NetworkPolicySpec {
        pod_selector: Some(web_processes()),
        policy_types: Some(vec!["Ingress".to_owned()]),
        // A rule without peers would let everybody in.
        ingress: Some(if rule.from.as_ref().is_none_or(Vec::is_empty) { Vec::new() } else { vec![rule] }),
        ..NetworkPolicySpec::default()
    };
    NetworkPolicy { metadata: wish.meta("from-router"), spec: Some(spec) }
}

/// Those of the formation, and those of its canary.
fn web_processes() -> LabelSelector {
    let one_of = LabelSelectorRequirement {
        key: LABEL_PROCESS.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec!["web".to_owned(), CANARY.to_owned()]),
    };
    LabelSelector { match_expressions: Some(vec![one_of]), ..LabelSelector::default() }
}

fn egress(wish: &Wish<'_>) -> Vec<NetworkPolicy> {
    let settings = &wish.release.settings.egress;
    if !settings.enabled {
        return Vec::new();
    }
    vec![
        fence::egress(wish.meta("to-dns"), vec![to_dns(&settings.dns)]),
        fence::egress(wish.meta("to-internet"), vec![to_internet(&settings.allow_private)]),
    ]
}
