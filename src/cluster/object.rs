//! An object of any kind, as it is to be.

use kube::api::{ApiResource, DynamicObject};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::Value;

/// An object as it is to be.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its kind.
    pub resource: ApiResource,
    /// Itself: only the fields that are ours.
    pub value: DynamicObject,
}

impl Object {
    /// A typed object, in the form that is sent.
    pub fn of<K>(object: &K) -> Self
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let resource = ApiResource::erase::<K>(&());
        let mut value = DynamicObject::new("", &resource);
        // The API's own types become JSON objects with metadata.
        if let Ok(Value::Object(mut fields)) = serde_json::to_value(object) {
            fields.remove("apiVersion");
            fields.remove("kind");
            fields.remove("metadata");
            fields.remove("status");
            value.data = Value::Object(fields);
        }
        value.metadata = object.meta().clone();
        Self { resource, value }
    }

    /// Kind and name, as in `Deployment web`.
    pub fn title(&self) -> String {
        format!("{} {}", self.resource.kind, self.value.name_any())
    }
}
