//! What is read of pods as API servers show them.

use super::*;
use serde_json::{Value, json};

/// A pod of the web process with this status; memory as the API server gives back 250 MiB, and 1 GiB of disk.
fn pod(status: &Value) -> PodView {
    let labels = json!({ "hythe.dev/tool": "weather", LABEL_PROCESS: "web", LABEL_RELEASE: "v2" });
    let limits = json!({ "memory": fence::quantity(250_u64 << 20), "ephemeral-storage": "1Gi" });
    let container = json!({ "name": "process", "resources": { "limits": limits } });
    let pod = json!({
        "metadata": { "name": "web-abc-x", "labels": labels },
        "spec": { "containers": [container] },
        "status": status,
    });
    PodView::of(&serde_json::from_value(pod).unwrap()).unwrap()
}

fn container(state: &Value, last: &Value) -> Value {
    json!([{ "name": "process", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
        "state": state, "lastState": last }])
}

fn terminated(code: i32, reason: &str) -> Value {
    json!({ "terminated": { "exitCode": code, "reason": reason, "message": "not a directory",
        "startedAt": "2026-11-30T10:00:00Z", "finishedAt": "2026-11-30T10:00:02Z" } })
}

fn exit(pod: &PodView) -> ExitReason {
    let Stage::Ended(exit) = &pod.stage else { panic!("{:?}", pod.stage) };
    exit.clone()
}

#[test]
fn an_end_is_told_by_code_signal_or_memory() {
    let ended = |code, reason| {
        exit(&pod(&json!({ "containerStatuses": container(&terminated(code, reason), &json!({})) })))
    };
    assert_eq!(ended(137, "OOMKilled").text(), "exit 137, out of memory (250 MiB)");
    assert_eq!(ended(137, "Error").text(), "ended by SIGKILL");
    assert_eq!((ended(3, "Error").text(), ended(3, "Error").millis), ("exit code 3".to_owned(), 2000));
    assert_eq!(ended(128, "Error").text(), "exit code 128");
    assert_eq!(ended(255, "Error").text(), "exit code 255");
}

#[test]
fn what_a_node_gives_up_is_told_by_its_reason_and_not_by_the_kill() {
    let given_up = |reason: &str, message: &str| {
        let killed = container(&terminated(137, "Error"), &json!({}));
        pod(
            &json!({ "phase": "Failed", "reason": reason, "message": message, "containerStatuses": killed, "podIP": "10.0.0.7" }),
        )
    };
    let full =
        given_up("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ");
    assert_eq!((exit(&full).text(), exit(&full).millis), ("exit 137, disk full (1 GiB)".to_owned(), 2000));
    assert!(full.given_up.is_some() && !full.was_lost());
    let shut_down = given_up("Terminated", "Pod was terminated in response to imminent node shutdown.");
    assert_eq!(
        exit(&shut_down).text(),
        "Terminated: Pod was terminated in response to imminent node shutdown."
    );
    assert_eq!(
        exit(&shut_down).code,
        None,
        "a command that hears SIGTERM and ends with 0 has not done its work"
    );
    assert!(shut_down.was_lost());
    // The pod of a command that has failed by itself.
    let failed =
        json!({ "phase": "Failed", "containerStatuses": container(&terminated(3, "Error"), &json!({})) });
    assert_eq!(exit(&pod(&failed)).text(), "exit code 3");
    assert_eq!(pod(&failed).given_up, None);
}

#[test]
fn a_process_that_cannot_be_begun_says_why() {
    let once = pod(&json!({ "containerStatuses": container(&terminated(128, "StartError"), &json!({})) }));
    assert_eq!(
        (once.unstarted.as_deref(), exit(&once).text()),
        (Some("not a directory"), "not a directory".to_owned())
    );
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    let again = pod(&json!({ "containerStatuses": container(&waiting, &terminated(128, "StartError")) }));
    assert_eq!(again.unstarted.as_deref(), Some("not a directory"));
    let crashed = pod(&json!({ "containerStatuses": container(&waiting, &terminated(1, "Error")) }));
    assert_eq!(crashed.unstarted, None);
}
