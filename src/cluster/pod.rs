//! What a pod's status says of the pod as a whole, whoever's it is.

use k8s_openapi::api::core::v1::Pod;

/// Why a node has given a pod up: it is not started again, and stays to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// In a word, as in `Evicted`.
    pub reason: String,
    /// In the node's words.
    pub message: String,
}

impl GivenUp {
    /// Why this pod was, where it was. Its containers may be there still, with how they ended because of it.
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Failed"))?;
        let reason = status.reason.clone().filter(|reason| !reason.is_empty())?;
        Some(Self { reason, message: status.message.clone().unwrap_or_default() })
    }

    /// Whether it wrote more than it may: nothing that befell its node.
    pub fn wrote_too_much(&self) -> bool {
        self.reason == "Evicted"
            && ["exceeds the", "exceeded its"].iter().any(|words| self.message.contains(words))
    }
}

impl std::fmt::Display for GivenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reason, message } = self;
        if message.is_empty() { f.write_str(reason) } else { write!(f, "{reason}: {message}") }
    }
}

/// Why no node takes a pod, in the scheduler's words, where none does.
pub fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let placed = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    (placed.status == "False").then(|| placed.message.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given_up(phase: &str, reason: &str, message: &str) -> Option<GivenUp> {
        let status = json!({ "phase": phase, "reason": reason, "message": message });
        GivenUp::of(&serde_json::from_value(json!({ "status": status })).unwrap())
    }

    #[test]
    fn what_a_pod_wrote_is_told_from_what_befell_its_node() {
        for message in [
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
            "Container process exceeded its local ephemeral storage limit \"1Gi\". ",
            "Usage of EmptyDir volume \"tmp\" exceeds the limit \"1Gi\". ",
        ] {
            assert!(given_up("Failed", "Evicted", message).unwrap().wrote_too_much(), "{message}");
        }
        let pressed = "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 3Mi. \
                       Container process was using 10Mi, request is 5Mi, has larger consumption of ephemeral-storage. ";
        let pressed = given_up("Failed", "Evicted", pressed).unwrap();
        assert!(!pressed.wrote_too_much());
        assert!(pressed.to_string().starts_with("Evicted: The node was low on resource"));
        assert_eq!(given_up("Failed", "NodeAffinity", "").unwrap().to_string(), "NodeAffinity");
        assert_eq!(given_up("Failed", "", ""), None, "its container has ended by itself");
        assert_eq!(given_up("Running", "Evicted", ""), None);
    }
}
