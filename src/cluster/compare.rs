//! Whether an object is as it is wished.

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Whether an object is as it is wished: every field that is ours has our value. What others have added is theirs.
pub(crate) fn covers_object(there: &DynamicObject, wanted: &DynamicObject) -> bool {
    let has = |there: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
        wanted.iter().all(|(key, value)| there.get(key) == Some(value))
    };
    has(there.labels(), wanted.labels())
        && has(there.annotations(), wanted.annotations())
        && covers(&there.data, &wanted.data)
        && (!is_exact(wanted) || covers(&wanted.data["spec"], &there.data["spec"]))
}

/// Whether a field more makes a difference: in a policy it opens or narrows it.
fn is_exact(wanted: &DynamicObject) -> bool {
    wanted.types.as_ref().is_some_and(|types| types.kind == "NetworkPolicy")
}

/// What makes an object as it is wished where server-side apply does not: that leaves in a list, and in a policy, what others have put
/// there. A merge patch (RFC 7396).
pub(crate) fn merge_patch(there: &DynamicObject, wanted: &DynamicObject) -> Value {
    let mut patch = wanted.data.clone();
    if is_exact(wanted) {
        take_out(&mut patch["spec"], &there.data["spec"]);
    }
    patch
}

/// Adds that what is there and not wished goes.
fn take_out(patch: &mut Value, there: &Value) {
    let (Value::Object(patch), Value::Object(there)) = (patch, there) else { return };
    for (key, value) in there {
        take_out(patch.entry(key).or_insert(Value::Null), value);
    }
}

/// What may be wished of an object that is there: a Service that has an address of the cluster's, as earlier builds have made it, keeps
/// that for life (Kubernetes API, `ServiceSpec.clusterIP`).
pub(crate) fn of_what_is_there<'a>(
    there: &DynamicObject,
    wanted: &'a DynamicObject,
) -> Cow<'a, DynamicObject> {
    let asked = wanted.data["spec"].get("clusterIP");
    let given = there.data["spec"]["clusterIP"].as_str().filter(|address| !address.is_empty());
    if asked.is_none() || given.is_none() {
        return Cow::Borrowed(wanted);
    }
    let mut wanted = wanted.clone();
    if let Some(spec) = wanted.data["spec"].as_object_mut() {
        spec.remove("clusterIP");
    }
    Cow::Owned(wanted)
}

fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (_, Value::Null) => true,
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| there.get(key).map_or(is_empty(value), |there| covers(there, value))),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && wanted.iter().all(|value| there.iter().any(|there| covers(there, value)))
        }
        (there, wanted) => there == wanted,
    }
}

/// What the API server leaves out of its answers: what its types are without any value.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Bool(true) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::networking::v1::NetworkPolicy;
    use kube::api::ApiResource;
    use serde_json::json;

    #[test]
    fn what_the_server_adds_or_leaves_out_is_no_difference() {
        let there =
            json!({ "replicas": 1, "paused": true, "list": [{ "name": "a", "extra": 1 }, { "name": "b" }] });
        for wanted in [
            json!({ "replicas": 1 }),
            json!({ "replicas": 1, "minReadySeconds": 0, "egress": [], "labels": {}, "text": "", "flag": false }),
            json!({ "list": [{ "name": "b" }, { "name": "a" }] }),
        ] {
            assert!(covers(&there, &wanted), "{wanted}");
        }
        for wanted in [
            json!({ "replicas": 2 }),
            json!({ "list": [{ "name": "a" }] }),
            json!({ "list": [{ "name": "a" }, { "name": "c" }] }),
            json!({ "missing": "value" }),
            json!({ "paused": false }),
        ] {
            assert!(!covers(&there, &wanted), "{wanted}");
        }
    }

    #[test]
    fn a_policy_that_somebody_widens_differs() {
        let resource = ApiResource::erase::<NetworkPolicy>(&());
        let policy = |spec: Value| DynamicObject::new("closed", &resource).data(json!({ "spec": spec }));
        let wanted = policy(json!({ "podSelector": {}, "ingress": [], "policyTypes": ["Ingress"] }));
        assert!(covers_object(&policy(json!({ "podSelector": {}, "policyTypes": ["Ingress"] })), &wanted));
        let opened = policy(json!({ "podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"] }));
        assert!(!covers_object(&opened, &wanted));
        let narrowed =
            policy(json!({ "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Ingress"] }));
        assert!(!covers_object(&narrowed, &wanted));
        let patch = merge_patch(&narrowed, &wanted);
        let expected =
            json!({ "podSelector": { "matchLabels": null }, "ingress": [], "policyTypes": ["Ingress"] });
        assert_eq!(patch["spec"], expected);
    }
}
