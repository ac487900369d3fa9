//! How far a rollout is: a pure function of what was seen.

use super::desired::process_name;
use super::seen::ToolView;
use super::view::{PodView, Stage};
use crate::status::ExitReason;
use hythe_model::{Formation, ReleaseNumber};

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Not there yet: what it waits for, for people.
    Waits {
        what: String,
        /// On whom: the cluster, which may have to fetch an image or to find a node; else the tool's own processes.
        cluster: bool,
    },
    /// Every pod of the formation is available and, of the web, in the route.
    Done,
    /// It will not get there by itself.
    Fails(Box<Trouble>),
}

/// Why a rollout fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A container ended.
    Exited { pod: Box<PodView>, exit: ExitReason },
    /// The node cannot get the image.
    Image { message: String },
    /// The container cannot be made: its config, its command, its user.
    Container { reason: String, message: String },
    /// Pods are refused: a quota, a policy, a webhook.
    Refused { message: String },
}

/// How far this release with this formation is.
pub(crate) fn progress(view: &ToolView, release: ReleaseNumber, formation: &Formation) -> Progress {
    let pods = || view.instances().filter(|pod| pod.id.release == release);
    if let Some(trouble) = pods().find_map(trouble) {
        return Progress::Fails(Box::new(trouble));
    }
    let mut waits = None;
    for (kind, count) in &formation.0 {
        let name = process_name(kind);
        let wanted = i32::try_from(*count).unwrap_or(i32::MAX);
        let Some(deployment) = view.deployments.get(&name).filter(|seen| seen.release == Some(release))
        else {
            waits.get_or_insert_with(|| cluster(format!("{kind}: not seen yet")));
            continue;
        };
        // The status is of an earlier template until its controller has seen this one.
        if !deployment.observed || deployment.wanted != wanted {
            waits.get_or_insert_with(|| cluster(format!("{kind}: not begun")));
            continue;
        }
        if let Some(message) = &deployment.refused {
            return Progress::Fails(Box::new(Trouble::Refused { message: message.clone() }));
        }
        let old = deployment.present - deployment.updated;
        if deployment.updated < wanted || deployment.available < wanted || old > 0 {
            let mine = || pods().filter(|pod| pod.id.process == *kind);
            let started = mine().filter(|pod| !matches!(pod.stage, Stage::Waiting { .. })).count();
            let ready = mine().filter(|pod| pod.ready).count();
            waits.get_or_insert_with(|| {
                if ready < started {
                    return Progress::Waits {
                        what: format!("{kind}: {ready} of {count} ready"),
                        cluster: false,
                    };
                }
                cluster(format!("{kind}: {started} of {count} started"))
            });
            continue;
        }
        let routed = view.in_route().filter(|pod| pod.id.release == release).count();
        if kind.is_web() && routed < usize::try_from(*count).unwrap_or(usize::MAX) {
            waits.get_or_insert_with(|| cluster(format!("{kind}: {routed} of {count} in the route")));
        }
    }
    waits.unwrap_or(Progress::Done)
}

/// It waits for the cluster.
fn cluster(what: String) -> Progress {
    Progress::Waits { what, cluster: true }
}

/// What a node says of a pod that it cannot start yet, though it goes on trying.
pub(crate) fn hindrance(view: &ToolView, release: ReleaseNumber) -> Option<String> {
    let mut pods = view.pods.values().filter(|pod| pod.id.release == release && !pod.leaving);
    pods.find_map(|pod| match (&pod.stage, &pod.unschedulable) {
        (_, Some(message)) => Some(format!("no node takes it: {message}")),
        (Stage::Waiting { reason, message }, _) if !message.is_empty() => {
            Some(format!("{reason}: {message}"))
        }
        _ => None,
    })
}

/// What keeps a pod from ever getting ready.
pub(crate) fn trouble(pod: &PodView) -> Option<Trouble> {
    if pod.leaving {
        return None;
    }
    let exited = |exit: &ExitReason| Some(Trouble::Exited { pod: Box::new(pod.clone()), exit: exit.clone() });
    match (&pod.stage, &pod.last_exit) {
        (Stage::Ended(exit), _) | (_, Some(exit)) if !pod.ready => exited(exit),
        (Stage::Waiting { reason, message }, _) => match reason.as_str() {
            "InvalidImageName" | "ErrImageNeverPull" => Some(Trouble::Image { message: message.clone() }),
            "ErrImagePull" | "ImagePullBackOff" if is_final(message) => {
                Some(Trouble::Image { message: message.clone() })
            }
            "CreateContainerConfigError" => {
                Some(Trouble::Container { reason: reason.clone(), message: message.clone() })
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether the registry has answered, so that asking again changes nothing. One that is away is waited for, and so is a node that has
/// not got the tool's key yet: it pulls as nobody in a namespace that is new, and asks again.
fn is_final(message: &str) -> bool {
    let message = message.to_lowercase();
    if message.contains("insufficient_scope") {
        return false;
    }
    ["not found", "unauthorized", "denied", "forbidden", "manifest unknown", "no match for platform"]
        .iter()
        .any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_final_and_a_node_without_its_key_is_none() {
        assert!(is_final("failed to resolve image: registry/tools/weather@sha256:ab: not found"));
        assert!(is_final("unexpected status: 403 Forbidden"));
        let early = "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed";
        assert!(!is_final(early));
        assert!(!is_final("dial tcp 10.213.0.1:5000: connect: connection refused"));
    }
}
