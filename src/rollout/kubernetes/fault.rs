//! What a rollout in a cluster says when it fails, where a machine alone has no words for it.

use super::progress::Trouble;
use crate::fault::{self as common, Failure};
use crate::runtime::RunnableRelease;
use hythe_cluster::ClusterError;
use hythe_model::{Fault, Release, ToolName};

/// How an API server says that it could not ask one.
const WEBHOOK: &str = "failed calling webhook";

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
            "rollout/cluster-away",
            "The release failed: the cluster's API server does not answer as it should.",
        )
        .why(error.to_string())
        .next("Push again once it is back; nothing of the release is left behind."),
    }
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
        Trouble::Container { reason, message } => {
            let fault = Fault::new("rollout/container", "The release failed: its container cannot be made.")
                .why(format!("{reason}: {message}"))
                .next(format!("Try the image: hythe run --tool {} -- ls -la", release.release.tool));
            (None, fault)
        }
        Trouble::Refused { message } => {
            let quota = message.contains("exceeded quota");
            let (id, what) = if quota {
                ("rollout/quota", "The release failed: the tool's quota is used up.")
            } else {
                ("rollout/pod-refused", "The release failed: the cluster refuses its pods.")
            };
            let fault = Fault::new(id, what).why(message);
            let fault = if quota {
                let tool = &release.release.tool;
                fault
                    .why("While a release replaces another, one instance more than the formation runs for a moment.")
                    .next(format!("Run fewer instances (hythe scale --tool {tool} web=1), or ask the operator for a larger quota."))
            } else {
                fault.next("The cluster's operator knows the rule; push again once it allows this.")
            };
            (None, fault)
        }
    }
}

/// It went on for too long, and no web process of it was to blame.
pub(crate) fn not_ready(release: &Release, waits: &str, hindrance: Option<String>, seconds: u64) -> Fault {
    let fault = Fault::new("rollout/not-ready", "The release failed: it does not get ready.")
        .why(format!("Nothing moved for {seconds} s. Seen last: {waits}."));
    let fault = match hindrance {
        Some(message) => fault.why(message),
        None => fault,
    };
    fault.next(format!("Look at it: hythe ps --tool {}, hythe logs --tool {}", release.tool, release.tool))
}
