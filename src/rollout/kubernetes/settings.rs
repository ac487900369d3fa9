//! What the operator chose for the cluster.

use crate::settings::RunLimits;
use hythe_cluster::fence::Account;
use hythe_model::ToolName;
use hythe_registry::Prefix;
use std::time::Duration;

/// How tools lie in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// This installation among others in the same cluster: a label of everything that it owns.
    pub platform: String,
    /// What a tool's namespace is called: this and the tool's name.
    pub namespace_prefix: String,
    /// The server's own account, which gets its rights in a tool's namespace and nowhere else; none where it has them everywhere.
    pub account: Option<Account>,
    /// Where nodes pull the images of tools from.
    pub images: Prefix,
    /// Who may reach the tools' web processes.
    pub router: Router,
    /// Most of everything that one tool may have at the same time.
    pub quota: Quota,
    /// The same for some tools; the first that names a tool counts.
    pub quotas: Vec<(Vec<ToolName>, Quota)>,
    /// How long the cluster may take to start a pod: to find it a node and to pull its image.
    pub start: Duration,
    /// Seconds between a pod's leaving the route and its SIGTERM, so that every router has seen it leave.
    pub leave_seconds: u32,
    /// Seconds that a new pod must stay ready before an old one goes.
    pub min_ready_seconds: u32,
}

/// Where the router is, as network policies see it. Nobody else reaches a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Router {
    /// The namespace that its pods are in; none where it is outside the cluster.
    pub namespace: Option<String>,
    /// Addresses outside the cluster that it comes from, as CIDR.
    pub cidrs: Vec<String>,
}

/// The quota of a tool's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Pods.
    pub pods: u32,
    /// What all of them may use together; `pids` and `nofile` are not counted by a cluster.
    pub limits: RunLimits,
}

impl ClusterSettings {
    /// The quota of a tool.
    pub(crate) fn quota_of(&self, tool: &ToolName) -> &Quota {
        let own = self.quotas.iter().find(|(tools, _)| tools.contains(tool));
        own.map_or(&self.quota, |(_, quota)| quota)
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            platform: "hythe".to_owned(),
            namespace_prefix: "hythe-".to_owned(),
            account: None,
            images: Prefix::default(),
            router: Router::default(),
            quota: Quota::default(),
            quotas: Vec::new(),
            start: Duration::from_mins(5),
            leave_seconds: 3,
            min_ready_seconds: 0,
        }
    }
}

impl Default for Quota {
    fn default() -> Self {
        let limits = RunLimits {
            memory_bytes: 8 << 30,
            cpu_millis: 16_000,
            disk_bytes: 32 << 30,
            ..RunLimits::default()
        };
        Self { pods: 40, limits }
    }
}
