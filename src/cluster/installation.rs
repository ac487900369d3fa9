//! Which of the installations that bear the same name this is: two servers that look after the same namespaces would undo each other's work.
//!
//! A namespace bears the number of the installation that was there first, and no other one touches it.

use crate::{Cluster, ClusterError, LABEL_PLATFORM, Object, patient};
use hythe_model::Fault;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::Api;

/// Whose a namespace is, among installations of one name.
const NOTE: &str = "hythe.dev/installation";

/// The rest of a fault where a namespace is of another installation that is called `platform` too.
pub fn of_another(fault: Fault, namespace: &str, platform: &str) -> Fault {
    fault
        .why(format!("The namespace {namespace} is of the other one; two would undo each other's work."))
        .next("The operator gives this one a name of its own: platform and namespace_prefix in [kubernetes].")
        .next(format!(
            "Where the other one is gone for good: kubectl annotate namespaces -l {LABEL_PLATFORM}={platform} {NOTE}-"
        ))
}

impl Cluster {
    /// The cluster, as the installation with this number sees it.
    #[must_use]
    pub fn of(self, number: &str) -> Self {
        Self { number: Some(number.into()), ..self }
    }

    /// A namespace as it is wished, with a note of whose it is.
    pub(crate) fn noted(&self, namespace: &Object) -> Object {
        let mut namespace = namespace.clone();
        if let Some(number) = &self.number {
            namespace.value.annotations_mut().insert(NOTE.to_owned(), number.to_string());
        }
        namespace
    }

    /// Whether another installation has made a namespace.
    pub(crate) fn is_anothers(&self, namespace: &impl ResourceExt) -> bool {
        let noted = namespace.annotations().get(NOTE);
        noted.zip(self.number.as_deref()).is_some_and(|(noted, own)| noted != own)
    }

    /// Whether another installation has made the namespace of this name: what is in it is not ours, whatever its labels say.
    pub async fn has_another(&self, namespace: &str) -> Result<bool, ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = patient("read a namespace", || namespaces.get_opt(namespace)).await?;
        Ok(found.is_some_and(|found| self.is_anothers(&found)))
    }
}
