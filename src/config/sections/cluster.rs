//! The section of a cluster.

use crate::sections::is_label;
use crate::{Cores, Size, Span};
use hythe_model::ToolName;
use serde::Deserialize;
use std::path::PathBuf;

/// `[kubernetes]`: tools in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kubernetes {
    /// How the cluster is reached; `KUBECONFIG` or the pod's own account where unset.
    #[serde(deserialize_with = "super::optional")]
    pub kubeconfig: Option<PathBuf>,
    /// This installation's name among others in the same cluster, or in the same external registry.
    pub platform: String,
    /// What the namespace of a tool is called: this and the tool's name.
    pub namespace_prefix: String,
    /// The namespace that builds run in; see [`Kubernetes::build_namespace`] where unset.
    #[serde(deserialize_with = "super::optional")]
    pub build_namespace: Option<String>,
    /// The server's own service account, as in `hythe/server`; unset where it has its rights everywhere.
    #[serde(deserialize_with = "super::optional")]
    pub account: Option<String>,
    /// Host and port that nodes pull images from.
    #[serde(deserialize_with = "super::optional")]
    pub registry: Option<String>,
    /// The namespace that the router's pods are in.
    #[serde(deserialize_with = "super::optional")]
    pub router_namespace: Option<String>,
    /// Networks that a router outside the cluster comes from.
    pub router_networks: Vec<String>,
    /// How long the cluster may take to start a pod: to find it a node and to pull its image.
    pub start: Span,
    /// How long a pod serves on after it has left the route, before its SIGTERM.
    pub leave: Span,
    /// How long a new pod must stay ready before an old one goes.
    pub settle: Span,
    /// The most that one tool may have at the same time.
    pub quota: Quota,
    /// What single tools may have instead; the first that names a tool counts.
    pub quotas: Vec<OtherQuota>,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            platform: "hythe".to_owned(),
            namespace_prefix: "hythe-".to_owned(),
            build_namespace: None,
            account: None,
            registry: None,
            router_namespace: None,
            router_networks: Vec::new(),
            start: Span::seconds(300),
            leave: Span::seconds(3),
            settle: Span::seconds(0),
            quota: Quota::default(),
            quotas: Vec::new(),
        }
    }
}

impl Kubernetes {
    /// The namespace that builds run in: the one set, else one that no tool's is called.
    pub fn build_namespace(&self) -> String {
        self.build_namespace.clone().unwrap_or_else(|| format!("builds-of-{}", self.platform))
    }

    /// A name that a cluster would refuse at the first push: its key, and what it is not.
    pub(crate) fn wrong_name(&self) -> Option<(&'static str, &'static str)> {
        // A namespace's name has at most 63 letters, and the tool's is part of it.
        if !is_label(&format!("{}x", self.namespace_prefix), 41) {
            let what = "this is not the beginning of a namespace's name, of 40 letters at most";
            return Some(("namespace_prefix", what));
        }
        if !is_label(&self.platform, 53) {
            return Some(("platform", "this is not a name of 53 letters at most"));
        }
        let wrong = |name: &String| !is_label(name, 63);
        let found = self.build_namespace.as_ref().is_some_and(wrong);
        found.then_some(("build_namespace", "this is not a namespace's name"))
    }
}

/// `[kubernetes.quota]`: the most that one tool may have at the same time, all its pods together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Pods.
    pub pods: u32,
    /// Memory.
    pub memory: Size,
    /// Cores.
    pub cpu: Cores,
    /// Disk written.
    pub disk: Size,
}

/// One of `[[kubernetes.quotas]]`: what some tools may have instead. What is not said is as for all.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherQuota {
    /// Which tools.
    pub tools: Vec<ToolName>,
    /// Pods.
    pub pods: Option<u32>,
    /// Memory.
    pub memory: Option<Size>,
    /// Cores.
    pub cpu: Option<Cores>,
    /// Disk written.
    pub disk: Option<Size>,
}

impl OtherQuota {
    /// This over what holds for all.
    pub fn over(&self, all: &Quota) -> Quota {
        Quota {
            pods: self.pods.unwrap_or(all.pods),
            memory: self.memory.unwrap_or(all.memory),
            cpu: self.cpu.unwrap_or(all.cpu),
            disk: self.disk.unwrap_or(all.disk),
        }
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self { pods: 40, memory: Size::mib(8 << 10), cpu: Cores(16_000), disk: Size::mib(32 << 10) }
    }
}
