//! What a rollout in a cluster says when it fails, where a machine alone has no words for it.

use super::ClusterSettings;
use super::desired::namespace;
use super::progress::{Hindrance, Trouble, WEBHOOK};
use crate::fault::{self as common, Failure};
use crate::runtime::RunnableRelease;
use hythe_cluster::{ClusterError, of_another};
use hythe_model::{Fault, Release, ToolName};

/// Why a release needs more than what runs afterwards.
const SURGE: &str =
    "While a release replaces another, one instance more than the formation runs for a moment.";
const BESIDE: &str = "A release command runs in a pod of its own beside the instances.";

/// The longest name of a namespace (a label of RFC 1123).
const LABEL: usize = 63;

/// A fault where the namespace of a tool would have too long a name.
pub(crate) fn expect_namespace(settings: &ClusterSettings, tool: &ToolName) -> Result<(), Fault> {
    let most = LABEL.saturating_sub(settings.namespace_prefix.len());
    if tool.as_str().len() <= most {
        return Ok(());
    }
    Err(Fault::new(
        "tools/name-too-long",
        format!("The name {tool} is too long: here it has at most {most} letters."),
    )
    .why(format!(
        "Its namespace is called {}, and a cluster takes {LABEL} letters.",
        namespace(settings, tool)
    ))
    .next("Choose a shorter name, or ask the operator for a shorter namespace_prefix in [kubernetes]."))
}

/// A tool could not be removed from the cluster.
pub(crate) fn not_removed(tool: &ToolName, error: &ClusterError) -> Fault {
    Fault::new("tools/cluster-away", format!("{tool} was not deleted: the cluster did not do as asked."))
        .why(error.to_string())
        .why("What it runs goes on.")
        .next(format!("Delete it again once the cluster is well: hythe tools delete {tool}"))
}

/// The cluster did not take a release's objects.
pub(crate) fn not_applied(release: &Release, error: &ClusterError) -> Fault {
    match error {
        ClusterError::Foreign { title, namespace } => Fault::new(
            "rollout/foreign-object",
            "The release failed: something in the cluster is in its way.",
        )
        .why(format!("{title} exists in the namespace {namespace} and does not belong to {}.", release.tool))
        .why("Hythe never takes over what it has not made.")
        .next(format!("Remove it, or give the tool another name: kubectl -n {namespace} get all")),
        ClusterError::Another { namespace, platform } => {
            let what = "The release failed: another installation of the same name works in the cluster.";
            of_another(Fault::new("rollout/another-installation", what), namespace, platform)
        }
        ClusterError::Terminating { namespace } => Fault::new(
            "rollout/namespace-terminating",
            "The release failed: the tool's namespace is still being deleted.",
        )
        .why(format!("The namespace {namespace} is in deletion; something in it holds it back."))
        .next(format!("See what it is: kubectl get namespace {namespace} -o yaml"))
        .next("Then push again."),
        ClusterError::Refused { title, message } => {
            Fault::new("rollout/refused", format!("The release failed: the cluster refused {title}."))
                .why(message.clone())
                .next("The cluster's operator knows the rule; push again once it allows this.")
        }
        ClusterError::Api { reason, .. } if reason.contains(WEBHOOK) => Fault::new(
            "rollout/webhook-away",
            "The release failed: a webhook that the cluster asks first does not answer.",
        )
        .why(error.to_string())
        .next("The cluster's operator knows the webhook; push again once it answers."),
        ClusterError::Api { .. } => Fault::new(
            common::CLUSTER_AWAY,
            "The release failed: the cluster's API server does not answer as it should.",
        )
        .why(error.to_string())
        .next("Push again once it is back; nothing of the release is left behind."),
    }
}

/// Whether it is a quota that is in the way.
pub(crate) fn is_quota(message: &str) -> bool {
    message.contains("exceeded quota")
}

/// A command that runs once could not be started.
pub(crate) fn not_run(tool: &ToolName, error: &ClusterError) -> Fault {
    match error {
        ClusterError::Refused { message, .. } => {
            pod_refused("run/refused", "The command was not started", tool, message)
        }
        error => {
            Fault::new("run/cluster-away", "The command was not started: the cluster did not do as asked.")
                .why(error.to_string())
                .next("Run it again once the cluster is well.")
        }
    }
}

/// A job could not be started.
pub(crate) fn job_not_started(tool: &ToolName, error: &ClusterError) -> Fault {
    match error {
        ClusterError::Refused { message, .. } => {
            pod_refused("jobs/refused", "The job was not started", tool, message)
        }
        error => Fault::new("jobs/cluster-away", "The job was not started: the cluster did not do as asked.")
            .why(error.to_string())
            .next("Start it again once the cluster is well."),
    }
}

fn pod_refused(id: &str, what: &str, tool: &ToolName, message: &str) -> Fault {
    if is_quota(message) {
        let fault = Fault::new(id, format!("{what}: the tool's quota is used up.")).why(message);
        return need_less(fault, tool);
    }
    Fault::new(id, format!("{what}: the cluster refuses its pod."))
        .why(message)
        .next("The cluster's operator knows the rule; try again once it allows this.")
}

fn need_less(fault: Fault, tool: &ToolName) -> Fault {
    fault.next(format!(
        "Run fewer instances (hythe scale --tool {tool} web=1), or ask the operator for a larger quota."
    ))
}

/// A job could not be ended.
pub(crate) fn of_job(error: &ClusterError) -> Fault {
    Fault::new("jobs/cluster-away", "The job could not be ended: the cluster did not do as asked.")
        .why(error.to_string())
        .next("Try again once it is back.")
}

/// What keeps a release from getting ready.
pub(crate) fn of_trouble(release: &RunnableRelease, trouble: Trouble) -> (Option<String>, Fault) {
    match trouble {
        Trouble::Exited { pod, exit } => {
            let failure = Failure::Exited(exit);
            (common::note(&pod.id, &failure), common::of_failure(release, &pod.id, failure))
        }
        Trouble::Image { message } => {
            let fault = Fault::new("rollout/image-pull", "The release failed: its image cannot be pulled.")
                .why(message)
                .next("The operator sees to it that nodes reach the registry, and may pull from it; then push again.");
            (None, fault)
        }
        Trouble::Container { message, .. } if is_config_gone(&message) => {
            let fault =
                Fault::new("rollout/config-missing", "The release failed: its config is not in the cluster.")
                    .why(message)
                    .next("Somebody has removed it. Push again: it is written anew.");
            (None, fault)
        }
        Trouble::Container { reason, message } => {
            let fault = Fault::new("rollout/container", "The release failed: its container cannot be made.")
                .why(format!("{reason}: {message}"))
                .next(format!("Try the image: hythe run --tool {} -- ls -la", release.release.tool));
            (None, fault)
        }
        Trouble::Refused { message } => (None, pods_refused(&release.release, message, SURGE)),
    }
}

/// Whether a container is not made because the Secret of its variables is not there, in its node's words.
fn is_config_gone(message: &str) -> bool {
    message.contains("secret") && message.contains("not found")
}

/// The pod of a release's command could not be made.
pub(crate) fn command_refused(release: &Release, error: &ClusterError) -> Fault {
    match error {
        ClusterError::Refused { message, .. } => pods_refused(release, message.clone(), BESIDE),
        error => not_applied(release, error),
    }
}

fn pods_refused(release: &Release, message: String, more: &str) -> Fault {
    if is_quota(&message) {
        let what = "The release failed: the tool's quota is used up.";
        return need_less(Fault::new("rollout/quota", what).why(message).why(more), &release.tool);
    }
    Fault::new("rollout/pod-refused", "The release failed: the cluster refuses its pods.")
        .why(message)
        .next("The cluster's operator knows the rule; push again once it allows this.")
}

/// It went on for too long, and no web process of it was to blame.
pub(crate) fn not_ready(release: &Release, waits: &str, hindrance: Option<Hindrance>, seconds: u64) -> Fault {
    let tool = &release.tool;
    match hindrance {
        Some(Hindrance::NoNode(message)) => Fault::new(
            "rollout/unschedulable",
            "The release failed: no node of the cluster has room for it.",
        )
        .why(format!("For {seconds} s: {message}"))
        .next("Let a process need less (memory and cpu of [hythe.processes.TYPE] in project.toml), or ask the operator for more room."),
        hindrance => Fault::new("rollout/not-ready", "The release failed: it does not get ready.")
            .why(format!("Nothing moved for {seconds} s. Seen last: {waits}."))
            .why_lines(hindrance.map(|hindrance| hindrance.to_string()))
            .next(format!("Look at it: hythe ps --tool {tool}, hythe logs --tool {tool}")),
    }
}
