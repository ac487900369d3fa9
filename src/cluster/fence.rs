//! Parts of what stands around pods: a restricted namespace, closed networks, an account without rights, the key to images.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    Capabilities, Namespace, PodSecurityContext, SeccompProfile, Secret, SecurityContext, ServiceAccount,
};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

/// What is closed to pods unless the operator opens it: private, shared, link-local, loopback and reserved ranges.
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

/// What a node shows to a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct PullAccess {
    /// Whose.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for PullAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullAccess").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A namespace whose pods are held to the standard `restricted` (Kubernetes, Pod Security Standards).
pub fn namespace(mut metadata: ObjectMeta) -> Namespace {
    metadata.namespace = None;
    let levels = ["enforce", "warn", "audit"]
        .map(|mode| (format!("pod-security.kubernetes.io/{mode}"), "restricted".to_owned()));
    metadata.labels.get_or_insert_default().extend(levels);
    Namespace { metadata, ..Namespace::default() }
}

/// An account without rights, whose pods get no token.
pub fn account(metadata: ObjectMeta) -> ServiceAccount {
    ServiceAccount { metadata, automount_service_account_token: Some(false), ..ServiceAccount::default() }
}

/// A service account of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl FromStr for Account {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let label = |text: &str| !text.is_empty() && !text.contains('/');
        let account = text.split_once('/').filter(|(namespace, name)| label(namespace) && label(name));
        let (namespace, name) = account.ok_or("it is not written as namespace/name")?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// The rights that the server has in a namespace of its own making, and in no other: those of the role `<platform>-tools`.
pub fn rights(metadata: ObjectMeta, platform: &str, account: &Account) -> RoleBinding {
    RoleBinding {
        metadata,
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: format!("{platform}-tools"),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.name.clone(),
            namespace: Some(account.namespace.clone()),
            api_group: None,
        }]),
    }
}

/// What a node pulls images with from this registry (`host:port`).
pub fn pull_secret(metadata: ObjectMeta, registry: &str, access: &PullAccess) -> Secret {
    let auth = BASE64_STANDARD.encode(format!("{}:{}", access.user, access.password));
    let document = serde_json::json!({ "auths": { registry: { "auth": auth } } });
    let data =
        BTreeMap::from([(".dockerconfigjson".to_owned(), ByteString(document.to_string().into_bytes()))]);
    Secret {
        metadata,
        data: Some(data),
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        ..Secret::default()
    }
}

/// Nothing in and nothing out, but for what another policy allows.
pub fn closed(metadata: ObjectMeta) -> NetworkPolicy {
    // Empty, not absent: a rule that somebody adds is to be seen as a difference.
    let spec = NetworkPolicySpec {
        pod_selector: Some(LabelSelector::default()),
        policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        ingress: Some(Vec::new()),
        egress: Some(Vec::new()),
    };
    NetworkPolicy { metadata, spec: Some(spec) }
}

/// A way out for every pod of the namespace.
pub fn egress(metadata: ObjectMeta, rules: Vec<NetworkPolicyEgressRule>) -> NetworkPolicy {
    let spec = NetworkPolicySpec {
        pod_selector: Some(LabelSelector::default()),
        policy_types: Some(vec!["Egress".to_owned()]),
        egress: Some(rules),
        ..NetworkPolicySpec::default()
    };
    NetworkPolicy { metadata, spec: Some(spec) }
}

/// The cluster's name server, and these.
pub fn to_dns(servers: &[IpAddr]) -> NetworkPolicyEgressRule {
    let cluster_dns = NetworkPolicyPeer {
        namespace_selector: Some(labelled("kubernetes.io/metadata.name", "kube-system")),
        pod_selector: Some(labelled("k8s-app", "kube-dns")),
        ..NetworkPolicyPeer::default()
    };
    let servers = servers.iter().map(host);
    NetworkPolicyEgressRule {
        to: Some(std::iter::once(cluster_dns).chain(servers).collect()),
        ports: Some(vec![port("UDP", 53), port("TCP", 53)]),
    }
}

/// Public addresses, and these private networks.
pub fn to_internet(open: &[String]) -> NetworkPolicyEgressRule {
    let mut peers = vec![block_except("0.0.0.0/0", CLOSED), block_except("::/0", CLOSED_V6)];
    peers.extend(open.iter().map(|cidr| block(cidr)));
    NetworkPolicyEgressRule { to: Some(peers), ports: None }
}

/// What has this label with this value.
pub fn labelled(key: &str, value: &str) -> LabelSelector {
    let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

/// One address.
pub fn host(address: &IpAddr) -> NetworkPolicyPeer {
    block(&format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }))
}

/// A network.
pub fn block(cidr: &str) -> NetworkPolicyPeer {
    block_except(cidr, &[])
}

fn block_except(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    let except: Vec<_> = except.iter().map(|&cidr| cidr.to_owned()).collect();
    let block = IPBlock { cidr: cidr.to_owned(), except: (!except.is_empty()).then_some(except) };
    NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }
}

/// A port of a protocol, as in `TCP`.
pub fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number.into())),
        ..NetworkPolicyPort::default()
    }
}

/// What the standard `restricted` asks of a pod.
pub fn pod_security() -> PodSecurityContext {
    let seccomp = SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    PodSecurityContext {
        run_as_non_root: Some(true),
        seccomp_profile: Some(seccomp),
        ..PodSecurityContext::default()
    }
}

/// What it asks of a container.
pub fn container_security(read_only: bool) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(read_only),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

/// What a quantity's suffix stands for: powers of 1000, and of 1024.
const SUFFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// A number of anything, as in bytes, in the form that the API server gives it back: with the greatest suffix that keeps it whole.
pub fn quantity(number: impl Into<u64>) -> Quantity {
    let number = number.into();
    let thousands = (1..=6).take_while(|&power| number > 0 && number.is_multiple_of(1000_u64.pow(power)));
    let power = thousands.last().unwrap_or(0);
    Quantity(format!("{}{}", number / 1000_u64.pow(power), SUFFIXES[power as usize]))
}

/// The number of a quantity, whoever has written it; none where that is no whole number.
pub fn number(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.as_str();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let power = |base: u64, suffixes: &[&str]| {
        let power = suffixes.iter().position(|other| *other == suffix)?;
        base.checked_pow(u32::try_from(power).ok()?)
    };
    let exponent = || 10_u64.checked_pow(suffix.strip_prefix(['e', 'E'])?.parse().ok()?);
    let factor = power(1000, &SUFFIXES).or_else(|| power(1024, &BINARY_SUFFIXES)).or_else(exponent)?;
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Thousandths of a core in the form that the API server gives them back: whole cores where they are whole.
pub fn millis(millis: u32) -> Quantity {
    if millis.is_multiple_of(1000) { quantity(millis / 1000) } else { Quantity(format!("{millis}m")) }
}

/// CPU, memory and disk as a container's limits or requests have them.
pub fn amounts(cpu_millis: u32, memory_bytes: u64, disk_bytes: u64) -> BTreeMap<String, Quantity> {
    BTreeMap::from([
        ("cpu".to_owned(), millis(cpu_millis)),
        ("memory".to_owned(), quantity(memory_bytes)),
        ("ephemeral-storage".to_owned(), quantity(disk_bytes)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_api_server_gives_them_back() {
        let written = |number: u64| quantity(number).0;
        for (number, text) in [
            (0, "0"),
            (40, "40"),
            (1000, "1k"),
            (500 << 20, "524288k"),
            (512 << 20, "536870912"),
            (1_500_000, "1500k"),
            (2_000_000_000, "2G"),
            (u64::MAX, "18446744073709551615"),
            (3_000_000_000_000_000_000, "3E"),
        ] {
            assert_eq!(written(number), text);
            assert_eq!(super::number(&quantity(number)), Some(number), "{text}");
        }
        assert_eq!((millis(250).0, millis(16_000).0), ("250m".to_owned(), "16".to_owned()));
    }
    #[test]
    fn numbers_are_read_as_anybody_writes_them() {
        let read = |text: &str| number(&Quantity(text.to_owned()));
        for (text, number) in [
            ("250Mi", 250 << 20),
            ("1Gi", 1 << 30),
            ("128e6", 128_000_000),
            ("2E3", 2000),
            ("7E", 7_000_000_000_000_000_000),
        ] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in ["", "Mi", "1.5Gi", "-1", "100m", "1e", "1KiB", "99E"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
