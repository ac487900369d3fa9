//! What a release wants to be true in the cluster: a pure function from release and settings to objects.
//!
//! Enter at [`objects`]. Everything of a tool lies in its own namespace, carries the same labels, and is written by
//! server-side apply in the order in which it stands here: fences first, processes last.

mod config;
mod fence;
mod names;
mod one_off;
mod process;
#[cfg(test)]
mod tests;

pub(crate) use names::{
    LABEL_PLATFORM, LABEL_PROCESS, LABEL_RELEASE, LABEL_TOOL, NOTE_PROCESS, namespace,
    of_process as process_name, selector,
};
pub(crate) use one_off::one_off;
pub(crate) use process::CONTAINER;

use super::settings::ClusterSettings;
use crate::runtime::RunnableRelease;
use hythe_model::Fault;
use kube::api::{ApiResource, DynamicObject, ObjectMeta};
use kube::{Resource, ResourceExt};
use serde::Serialize;

/// An object as it is to be.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// Its kind.
    pub(crate) resource: ApiResource,
    /// Itself: only the fields that are ours.
    pub(crate) value: DynamicObject,
}

impl Object {
    /// A typed object, in the form that is sent.
    fn of<K>(object: &K) -> Self
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let resource = ApiResource::erase::<K>(&());
        let mut value = DynamicObject::new("", &resource);
        // The API's own types become JSON objects with metadata.
        if let Ok(serde_json::Value::Object(mut fields)) = serde_json::to_value(object) {
            fields.remove("apiVersion");
            fields.remove("kind");
            fields.remove("metadata");
            fields.remove("status");
            value.data = serde_json::Value::Object(fields);
        }
        value.metadata = object.meta().clone();
        Self { resource, value }
    }

    /// Kind and name, as in `Deployment web`.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.resource.kind, self.value.name_any())
    }
}

/// What a release is made of, and where it goes.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) release: &'a RunnableRelease,
    pub(crate) settings: &'a ClusterSettings,
    /// Name and password that pull the tool's images and nothing else.
    pub(crate) pull: Option<&'a PullAccess>,
}

/// What a node shows to the registry.
#[derive(Clone, PartialEq, Eq)]
pub struct PullAccess {
    /// Whose.
    pub user: String,
    /// The password; good for pulling from one repository.
    pub password: String,
}

impl std::fmt::Debug for PullAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullAccess").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Wish<'_> {
    fn meta(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace()),
            labels: Some(names::labels(self)),
            ..ObjectMeta::default()
        }
    }

    pub(crate) fn namespace(&self) -> String {
        namespace(self.settings, &self.release.release.tool)
    }
}

/// What stands around a tool, whatever runs in it; the first is the namespace.
pub(crate) fn fence(wish: &Wish<'_>) -> Vec<Object> {
    fence::objects(wish)
}

/// Every object of a release, in the order in which they are to be written; the first is the namespace.
pub(crate) fn objects(wish: &Wish<'_>) -> Result<Vec<Object>, Fault> {
    let mut all = fence::objects(wish);
    let config = config::secret(wish)?;
    all.push(Object::of(&config));
    all.extend(process::objects(wish, config.name_any().as_str()));
    Ok(all)
}
