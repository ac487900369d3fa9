//! What is remembered of objects that are right: a hash of each, so that a change by somebody else is seen.

use crate::compare::{covers_object, of_what_is_there};
use crate::{Object, Owner};
use kube::ResourceExt;
use kube::api::DynamicObject;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Namespace and name of an object of some kind; a namespace is in none.
type Name = (String, String);

/// Hashes of what is right, by kind.
#[derive(Debug, Default)]
pub struct Known {
    hashes: Mutex<HashMap<String, HashMap<Name, u64>>>,
}

impl Known {
    fn hashes(&self) -> MutexGuard<'_, HashMap<String, HashMap<Name, u64>>> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object is right as it is.
    pub(crate) fn note(&self, kind: &str, object: &DynamicObject) {
        let mut hashes = self.hashes();
        hashes.entry(kind.to_owned()).or_default().insert(name(object), hash(object));
    }

    /// Whether an object is the owner's and as it is wished; remembered where it is.
    pub fn look(&self, owner: &Owner, wanted: &Object, there: &DynamicObject) -> bool {
        let right = owner.owns(there) && covers_object(there, &of_what_is_there(there, &wanted.value));
        if right {
            self.note(&wanted.resource.kind, there);
        }
        right
    }

    /// An object was removed by us.
    pub(crate) fn forget(&self, kind: &str, namespace: &str, name: &str) {
        if let Some(known) = self.hashes().get_mut(kind) {
            known.remove(&(namespace.to_owned(), name.to_owned()));
        }
    }

    /// Neither a namespace nor anything in it is ours any more.
    pub(crate) fn forget_namespace(&self, namespace: &str) {
        for known in self.hashes().values_mut() {
            known.retain(|(of, name), _| of != namespace && !(of.is_empty() && name == namespace));
        }
    }

    /// Whether an object is as it was when it was last right.
    pub fn is_right(&self, kind: &str, object: &DynamicObject) -> bool {
        self.hashes().get(kind).is_some_and(|known| known.get(&name(object)) == Some(&hash(object)))
    }

    /// Whether it ever was.
    pub fn is_known(&self, kind: &str, object: &DynamicObject) -> bool {
        self.hashes().get(kind).is_some_and(|known| known.contains_key(&name(object)))
    }
}

/// What an object is called.
fn name(object: &DynamicObject) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Of everything but status and bookkeeping.
fn hash(object: &DynamicObject) -> u64 {
    let mut hasher = DefaultHasher::new();
    object.labels().hash(&mut hasher);
    if let Some(fields) = object.data.as_object() {
        for (key, value) in fields.iter().filter(|(key, _)| *key != "status") {
            key.hash(&mut hasher);
            value.to_string().hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::ApiResource;

    fn object(spec: serde_json::Value) -> DynamicObject {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
        DynamicObject::new("web", &resource).within("hythe-weather").data(spec)
    }

    #[test]
    fn a_status_is_no_difference_and_a_field_is() {
        let known = Known::default();
        let right = object(serde_json::json!({ "spec": { "port": 80 }, "status": { "x": 1 } }));
        known.note("Service", &right);
        assert!(known.is_right(
            "Service",
            &object(serde_json::json!({ "spec": { "port": 80 }, "status": { "x": 2 } }))
        ));
        assert!(!known.is_right("Service", &object(serde_json::json!({ "spec": { "port": 81 } }))));
        assert!(!known.is_right("Deployment", &right));
        known.forget("Service", "hythe-weather", "web");
        assert!(!known.is_known("Service", &right));
    }

    #[test]
    fn a_service_keeps_the_address_that_it_has() {
        let owner = Owner::new("hythe", crate::LABEL_TOOL, &"weather");
        let service = |address: &str, port: u16| {
            let mut value = object(serde_json::json!({ "spec": { "clusterIP": address, "port": port } }));
            value.metadata.labels = Some(owner.labels());
            value
        };
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
        let wanted = Object { resource, value: service("None", 80) };
        let known = Known::default();
        for (address, port, right) in
            [("None", 80, true), ("10.96.0.7", 80, true), ("10.96.0.7", 81, false), ("None", 81, false)]
        {
            assert_eq!(known.look(&owner, &wanted, &service(address, port)), right, "{address} {port}");
        }
    }
}
