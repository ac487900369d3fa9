//! How far a rollout is: a pure function of what was seen.

use super::desired::{CANARY, process_name, scale_range};
use super::seen::ToolView;
use super::view::{PodView, Stage};
use crate::runtime::RunnableRelease;
use crate::status::ExitReason;
use hythe_cluster::{is_denial, is_early};
use hythe_model::{ProcessType, ReleaseNumber};
use std::fmt;

/// How an API server says that it could not ask a webhook.
pub(crate) const WEBHOOK: &str = "failed calling webhook";

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

/// Pods of one process type that are to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The name of their Deployment.
    pub(crate) name: String,
    pub(crate) kind: ProcessType,
    /// So many at least.
    pub(crate) count: u32,
    /// And so many at most, where load decides.
    pub(crate) most: u32,
}

impl Wanted {
    /// Those of a release's formation.
    pub(crate) fn of(release: &RunnableRelease) -> Vec<Self> {
        let each = release.release.formation.0.iter();
        let wanted = each.map(|(kind, count)| {
            let range = scale_range(release, kind);
            let (count, most) = range.map_or((*count, *count), |range| (range.min, range.max));
            Self { name: process_name(kind), kind: kind.clone(), count, most }
        });
        wanted.collect()
    }

    /// So many pods of a canary.
    pub(crate) fn canary(count: u32) -> Self {
        Self { name: CANARY.to_owned(), kind: ProcessType::web(), count, most: count }
    }
}

/// How far this release with these pods is.
pub(crate) fn progress(view: &ToolView, release: ReleaseNumber, wanted: &[Wanted]) -> Progress {
    let mut pods = view.formation().filter(|pod| pod.id.release == release);
    if let Some(trouble) = pods.find_map(trouble) {
        return Progress::Fails(Box::new(trouble));
    }
    let each = wanted.iter().map(|wanted| progress_of(view, release, wanted));
    // A failure of a later one counts more than what an earlier one waits for.
    each.fold(Progress::Done, |sum, one| match (&sum, &one) {
        (Progress::Done, _) | (Progress::Waits { .. }, Progress::Fails(_)) => one,
        _ => sum,
    })
}

fn progress_of(view: &ToolView, release: ReleaseNumber, wanted: &Wanted) -> Progress {
    let Wanted { name, kind, .. } = wanted;
    let Some(deployment) = view.deployments.get(name).filter(|seen| seen.release == Some(release)) else {
        return cluster(format!("{kind}: not seen yet"));
    };
    let needed = deployment.wanted;
    let count = u32::try_from(needed).unwrap_or(0);
    // The status is of an earlier template until its controller has seen this one.
    if !deployment.observed || !(wanted.count..=wanted.most).contains(&count) {
        return cluster(format!("{kind}: not begun"));
    }
    if let Some(message) = deployment.refused.as_ref().filter(|message| !passes(message)) {
        return Progress::Fails(Box::new(Trouble::Refused { message: message.clone() }));
    }
    let mine = |pod: &&PodView| pod.id.release == release && pod.set == *name;
    let old = deployment.present - deployment.updated;
    if deployment.updated < needed || deployment.available < needed || old > 0 {
        let mine = || view.instances().filter(mine);
        let started = mine().filter(|pod| !matches!(pod.stage, Stage::Waiting { .. })).count();
        let ready = mine().filter(|pod| pod.ready).count();
        if ready < started {
            return Progress::Waits { what: format!("{kind}: {ready} of {count} ready"), cluster: false };
        }
        return cluster(format!("{kind}: {started} of {count} started"));
    }
    let routed = view.in_route().filter(mine).count();
    if kind.is_web() && routed < usize::try_from(count).unwrap_or(usize::MAX) {
        return cluster(format!("{kind}: {routed} of {count} in the route"));
    }
    Progress::Done
}

/// It waits for the cluster.
fn cluster(what: String) -> Progress {
    Progress::Waits { what, cluster: true }
}

/// What keeps a pod from starting, as long as it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// Its Deployment cannot make it yet, in the API server's words or its controller's.
    NoPod(String),
    /// No node takes it, in the scheduler's words.
    NoNode(String),
    /// Its node cannot start it yet and goes on trying.
    Node { reason: String, message: String },
}

impl Hindrance {
    /// In a word.
    pub(crate) fn kind(&self) -> &str {
        match self {
            Self::NoPod(_) => "no pod can be made yet",
            Self::NoNode(_) => "no node takes it",
            Self::Node { reason, .. } => reason,
        }
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NoPod(message) | Self::NoNode(message) | Self::Node { message, .. }) = self;
        write!(f, "{}: {message}", self.kind())
    }
}

/// What hinders one of the release's pods.
pub(crate) fn hindrance(view: &ToolView, release: ReleaseNumber) -> Option<Hindrance> {
    let mut pods = view.all().filter(|pod| pod.id.release == release && !pod.leaving);
    let hindered = pods.find_map(|pod| match (&pod.stage, &pod.unschedulable) {
        (_, Some(message)) => Some(Hindrance::NoNode(message.clone())),
        (Stage::Waiting { reason, message }, _) if !message.is_empty() => {
            Some(Hindrance::Node { reason: reason.clone(), message: message.clone() })
        }
        _ => None,
    });
    let mut own = view.deployments.values().filter(|seen| seen.release == Some(release) && seen.observed);
    hindered.or_else(|| own.find_map(|deployment| Some(Hindrance::NoPod(deployment.refused.clone()?))))
}

/// What keeps a pod from ever getting ready.
pub(crate) fn trouble(pod: &PodView) -> Option<Trouble> {
    // One that was lost is replaced.
    if pod.leaving || pod.was_lost() {
        return None;
    }
    if let Some(message) = pod.unstarted.clone().filter(|_| !pod.ready) {
        return Some(Trouble::Container { reason: "it cannot be started".to_owned(), message });
    }
    let exited = |exit: &ExitReason| Some(Trouble::Exited { pod: Box::new(pod.clone()), exit: exit.clone() });
    match (&pod.stage, &pod.last_exit) {
        (Stage::Ended(exit), _) | (_, Some(exit)) if !pod.ready => exited(exit),
        (Stage::Waiting { reason, message }, _) => match reason.as_str() {
            "InvalidImageName" | "ErrImageNeverPull" => Some(Trouble::Image { message: message.clone() }),
            "ErrImagePull" | "ImagePullBackOff" if is_final(message) => {
                Some(Trouble::Image { message: message.clone() })
            }
            // A node that is slow to read a Secret tries again.
            "CreateContainerConfigError" if !message.contains("timed out") => {
                Some(Trouble::Container { reason: reason.clone(), message: message.clone() })
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether a refusal is no rule and passes by itself: a controller tries again where an API server is away, or has just begun and does not
/// know yet what is in the cluster, nor who may do what.
fn passes(message: &str) -> bool {
    const PASSING: [&str; 12] = [
        "error looking up service account",
        "forbidden: User \"system:",
        "connection refused",
        "connection reset",
        "connection lost",
        ": EOF",
        "unexpected EOF",
        "context deadline exceeded",
        "timed out",
        "i/o timeout",
        "leader changed",
        "unable to handle the request",
    ];
    // A webhook that does not answer is a rule of its cluster too.
    let is_ruled = message.contains(WEBHOOK) || is_denial(message);
    !is_ruled && (is_early(message) || PASSING.iter().any(|words| message.contains(words)))
}

/// Whether the registry has answered, so that asking again changes nothing. One that is away is waited for, and so is a node that has
/// not got the tool's key yet: it pulls as nobody in a namespace that is new, and asks again.
pub(super) fn is_final(message: &str) -> bool {
    let message = message.to_lowercase();
    if ["insufficient_scope", "no basic auth credentials"].iter().any(|word| message.contains(word)) {
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
        let plain = "pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials";
        assert!(!is_final(plain));
        assert!(!is_final("dial tcp 10.213.0.1:5000: connect: connection refused"));
    }
}
