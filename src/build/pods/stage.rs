//! Where a build's pod stands, read from its status.

use super::desired::{BUILD, EXPORT, RESTORE};
use hythe_cluster::{GivenUp, unschedulable};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// Reasons of a waiting container that pass by themselves.
const COMES: &[&str] = &["", "ContainerCreating", "PodInitializing"];
/// What a node says of containers that it does not know any more.
const FORGOTTEN: &[&str] = &["ContainerStatusUnknown", "Unknown"];

/// Where a build's pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The build has not begun: what hinders it, where something does.
    Coming(Option<String>),
    /// Source and cached layers come.
    Restoring,
    /// It runs.
    Building,
    /// It has ended well, and its layers are packed.
    Exporting,
    /// Everything is delivered.
    Done,
    /// A container has failed.
    Failed(Failed),
    /// The pod is gone, or its node: not the build's fault.
    Lost(String),
}

/// How a container failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Which.
    pub(crate) container: &'static str,
    /// Its exit code.
    pub(crate) code: i32,
    /// Whether it used more memory than it may.
    pub(crate) out_of_memory: bool,
    /// What the node says of the whole pod, as `Evicted: ...`.
    pub(crate) evicted: Option<String>,
}

/// Reads it.
pub(crate) fn stage(pod: &Pod) -> Stage {
    let status = pod.status.clone().unwrap_or_default();
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let all: Vec<&ContainerStatus> = all.collect();
    let find = |name: &str| all.iter().find(|status| status.name == name).copied();
    if let Some(given_up) = GivenUp::of(pod) {
        let words = given_up.to_string();
        // Its own fault: it used too much, or too long.
        return if given_up.wrote_too_much() || given_up.reason == "DeadlineExceeded" {
            Stage::Failed(Failed { container: BUILD, code: 137, out_of_memory: false, evicted: Some(words) })
        } else {
            Stage::Lost(words)
        };
    }
    let ended = |name: &str| find(name).and_then(terminated).is_some();
    if find(EXPORT).and_then(terminated).is_some_and(|end| end.exit_code == 0) {
        return Stage::Done;
    }
    // Before exit codes: a pod that is told to go has its containers killed.
    if pod.metadata.deletion_timestamp.is_some() {
        return Stage::Lost("it was deleted".to_owned());
    }
    for name in [RESTORE, BUILD, EXPORT] {
        if let Some(end) = find(name).and_then(terminated).filter(|end| end.exit_code != 0) {
            let reason = end.reason.as_deref();
            if reason.is_some_and(|reason| FORGOTTEN.contains(&reason)) {
                return Stage::Lost("its node has restarted".to_owned());
            }
            let out_of_memory = reason == Some("OOMKilled");
            return Stage::Failed(Failed {
                container: name,
                code: end.exit_code,
                out_of_memory,
                evicted: None,
            });
        }
    }
    let runs = |name: &str| {
        find(name).is_some_and(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
    };
    match () {
        () if ended(BUILD) => Stage::Exporting,
        () if runs(BUILD) => Stage::Building,
        () if runs(RESTORE) => Stage::Restoring,
        () => Stage::Coming(hindrance(&all).or_else(|| unschedulable(pod))),
    }
}

fn terminated(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.state.as_ref()?.terminated.as_ref()
}

fn hindrance(all: &[&ContainerStatus]) -> Option<String> {
    all.iter().find_map(|status| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.clone().unwrap_or_default();
        let words = || format!("{reason}: {}", waiting.message.clone().unwrap_or_default());
        (!COMES.contains(&reason.as_str())).then(words)
    })
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "documents are written where they are passed")]
mod tests {
    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({ "metadata": { "name": "build-7" }, "status": status }))
            .unwrap()
    }

    fn container(name: &str, state: serde_json::Value) -> serde_json::Value {
        serde_json::json!({ "name": name, "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state })
    }

    fn ended(name: &str, code: i32, reason: &str) -> serde_json::Value {
        container(name, serde_json::json!({ "terminated": { "exitCode": code, "reason": reason } }))
    }

    fn init(statuses: serde_json::Value) -> Stage {
        stage(&pod(serde_json::json!({ "phase": "Pending", "initContainerStatuses": statuses })))
    }

    #[test]
    fn a_pod_goes_from_coming_to_done() {
        assert_eq!(stage(&pod(serde_json::json!({}))), Stage::Coming(None));
        let waits = |reason: &str| container("build", serde_json::json!({ "waiting": { "reason": reason } }));
        assert_eq!(init(serde_json::json!([waits("PodInitializing")])), Stage::Coming(None));
        let pull = init(serde_json::json!([waits("ImagePullBackOff")]));
        assert_eq!(pull, Stage::Coming(Some("ImagePullBackOff: ".to_owned())));
        let runs = |name: &str| container(name, serde_json::json!({ "running": {} }));
        assert_eq!(init(serde_json::json!([runs("restore")])), Stage::Restoring);
        assert_eq!(
            init(serde_json::json!([ended("restore", 0, "Completed"), runs("build")])),
            Stage::Building
        );
        let built = serde_json::json!([ended("restore", 0, "Completed"), ended("build", 0, "Completed")]);
        assert_eq!(init(built), Stage::Exporting);
        let done = serde_json::json!({
            "phase": "Succeeded",
            "initContainerStatuses": [ended("build", 0, "Completed")],
            "containerStatuses": [ended("export", 0, "Completed")],
        });
        assert_eq!(stage(&pod(done)), Stage::Done);
    }

    #[test]
    fn what_a_build_did_itself_is_told_from_what_befell_it() {
        let killed = init(serde_json::json!([ended("build", 137, "OOMKilled")]));
        assert!(
            matches!(killed, Stage::Failed(Failed { container: BUILD, out_of_memory: true, .. })),
            "{killed:?}"
        );
        let failed = |reason: &str, message: &str| {
            stage(&pod(serde_json::json!({ "phase": "Failed", "reason": reason, "message": message })))
        };
        let full =
            failed("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 8Gi.");
        assert!(matches!(full, Stage::Failed(Failed { evicted: Some(_), .. })), "{full:?}");
        let pressed = failed("Evicted", "The node was low on resource: memory.");
        assert!(matches!(pressed, Stage::Lost(_)), "{pressed:?}");
        assert!(matches!(failed("NodeLost", ""), Stage::Lost(_)));
        let forgotten = init(serde_json::json!([ended("build", 137, "ContainerStatusUnknown")]));
        assert!(matches!(forgotten, Stage::Lost(_)), "{forgotten:?}");
        // A drained node: the pod is told to go, and then its container is killed.
        let statuses = serde_json::json!({ "initContainerStatuses": [ended("build", 137, "Error")] });
        let mut drained = pod(statuses);
        drained.metadata.deletion_timestamp = serde_json::from_value("2026-11-21T00:00:00Z".into()).unwrap();
        assert!(matches!(stage(&drained), Stage::Lost(_)));
        assert!(matches!(failed("DeadlineExceeded", ""), Stage::Failed(_)));
    }
}
