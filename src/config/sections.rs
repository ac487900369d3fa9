//! A struct a section, with its defaults.

mod cluster;
mod fronts;
mod state;
mod work;

pub use cluster::{Kubernetes, OtherQuota, Quota};
pub use fronts::{Api, Router, Server, Ssh, Tls, TlsMode};
pub use state::{ExternalRegistry, Limits, Logs, Objects, Registry, Store};
pub use work::{Builder, Egress, ExecutorKind, Mirrors, Mount, Rollout, RuntimeKind, Sandbox, Stacks};

use crate::{Config, Contradiction};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use std::str::FromStr;
use std::time::Duration;

/// A setting that may be unset: an empty text is the same as none at all.
fn optional<'de, D: Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// An optional setting that is not shown.
fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    let text = String::deserialize(from)?;
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

impl Config {
    /// The first thing in it that cannot be meant.
    pub(crate) fn contradiction(&self) -> Option<Contradiction> {
        let found = |section, key, what, next| Some(Contradiction { section, key, what, next });
        if let Some(next) = self.plain_and_open() {
            return found("tls", "mode", "plain HTTP is for loopback addresses only", next);
        }
        if self.ssh.listen.ip().is_unspecified() && self.ssh.public.is_none() {
            let next =
                "Set public in [ssh] to the host and port that people push to, as in \"git.example.org:22\".";
            return found("ssh", "listen", "git remotes cannot name this address", next);
        }
        if self.api.listen.ip().is_unspecified() && self.api.public.is_none() {
            let next =
                "Set public in [api] to the host and port of its URL, as in \"hythe.example.org:8443\".";
            return found("api", "listen", "clients cannot name this address", next);
        }
        if self.tls.mode != TlsMode::Files && (self.tls.certificate.is_some() || self.tls.key.is_some()) {
            let next = "Set mode = \"files\" in [tls], or take certificate and key out.";
            return found("tls", "mode", "a certificate is given and not used", next);
        }
        if self.tls.mode == TlsMode::Files && (self.tls.certificate.is_none() || self.tls.key.is_none()) {
            let next = "Set certificate and key in [tls], each to a PEM file.";
            return found("tls", "mode", "mode \"files\" needs a certificate and a key", next);
        }
        if self.builder.concurrent == 0 {
            return found(
                "builder",
                "concurrent",
                "at least one build must run at a time",
                "Set it to 1 or more.",
            );
        }
        let of_sections = [
            ("store", self.store.contradiction()),
            ("objects", self.objects_contradiction()),
            ("mounts", self.mounts_contradiction()),
            ("registry", self.registry.contradiction()),
            ("registry.external", self.registry.external.contradiction()),
        ];
        for (section, mistake) in of_sections {
            if let Some((key, what, next)) = mistake {
                return found(section, key, what, next);
            }
        }
        if self.server.upkeep.duration() < Duration::from_secs(1) {
            return found("server", "upkeep", "there would be no pause", "Set it to 1 s or more.");
        }
        if !is_domain(&self.router.domain) {
            let next = "Write it as in tools.example.org: lower case, without a port or a leading dot.";
            return found("router", "domain", "this is not a domain name", next);
        }
        self.cluster_contradiction().or_else(|| {
            self.egress.wrong_network().and_then(|()| {
                let next = "Write each as in 10.1.0.0/16 or 10.1.2.3/32.";
                found("egress", "allow_private", "this is not a list of networks", next)
            })
        })
    }

    /// What to do about a front that would speak plain HTTP where others listen; the registry may, where that is meant.
    fn plain_and_open(&self) -> Option<&'static str> {
        let open = |address: std::net::SocketAddr| !address.ip().is_loopback();
        if self.tls.mode != TlsMode::Off {
            return None;
        }
        if open(self.router.listen) || open(self.api.listen) {
            let next = "Use mode \"auto\" or \"own\", or listen on 127.0.0.1 behind a proxy that speaks TLS.";
            return Some(next);
        }
        let next =
            "Use mode \"auto\" or \"own\", or set plain = true in [registry] where nobody else listens.";
        (self.registry.listen.is_some_and(open) && !self.registry.plain).then_some(next)
    }

    /// Whether tools run or builds run in a cluster.
    pub fn needs_cluster(&self) -> bool {
        let runtime = self.rollout.runtime;
        runtime == RuntimeKind::Kubernetes || self.builder.executor(runtime) == ExecutorKind::Pods
    }

    /// Whether nodes of a cluster pull images from this server: those that builds run in, or tools'.
    fn nodes_pull_here(&self) -> bool {
        let runtime = self.rollout.runtime;
        let tools = runtime == RuntimeKind::Kubernetes && self.registry.external.prefix.is_none();
        tools || self.builder.executor(runtime) == ExecutorKind::Pods
    }

    /// Whether tools run or builds run in sandboxes of this machine.
    pub fn needs_sandboxes(&self) -> bool {
        let runtime = self.rollout.runtime;
        runtime == RuntimeKind::Local || self.builder.executor(runtime) == ExecutorKind::Sandbox
    }

    /// Several servers need rows that they share, and nothing that is one machine's alone.
    fn objects_contradiction(&self) -> Option<(&'static str, &'static str, &'static str)> {
        self.objects.folder.as_ref()?;
        if self.store.url.is_none() && self.store.url_file.is_none() {
            let next = "Set url in [store] to a PostgreSQL database, or take folder out.";
            return Some(("folder", "servers that share objects share the rows too", next));
        }
        if self.needs_sandboxes() {
            let next =
                "Set runtime = \"kubernetes\" in [rollout] and no executor in [builder], or take folder out.";
            return Some(("folder", "sandboxes are one machine's alone", next));
        }
        None
    }

    fn cluster_contradiction(&self) -> Option<Contradiction> {
        let found = |section, key, what, next| Some(Contradiction { section, key, what, next });
        if self.nodes_pull_here() && self.kubernetes.registry.is_none() && self.registry.listen.is_none() {
            let next = "Set registry in [kubernetes] to the host and port of the API as nodes reach it, or listen in [registry].";
            let (section, key) = match self.rollout.runtime {
                RuntimeKind::Kubernetes => ("rollout", "runtime"),
                RuntimeKind::Local => ("builder", "executor"),
            };
            return found(section, key, "nodes would not know where to pull images from", next);
        }
        if self.kubernetes.router_networks.iter().any(|text| !is_network(text)) {
            let next = "Write each as in 10.1.0.0/16 or 10.1.2.3/32.";
            return found("kubernetes", "router_networks", "this is not a list of networks", next);
        }
        if !self.needs_cluster() {
            return None;
        }
        self.kubernetes.wrong_name().and_then(|(key, what)| {
            let next = "Write lower-case letters, digits and hyphens between them.";
            found("kubernetes", key, what, next)
        })
    }
}

/// Whether this is a label of a host name (RFC 1123), of so many letters at most.
fn is_label(text: &str, most: usize) -> bool {
    text.len() <= most && !text.contains('.') && is_domain(text)
}

/// Whether this is a network, as in `10.1.0.0/16`.
fn is_network(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        let most =
            address.parse::<std::net::IpAddr>().map(|address| if address.is_ipv4() { 32 } else { 128 });
        most.is_ok_and(|most| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
    })
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 200 && text.split('.').all(label)
}
