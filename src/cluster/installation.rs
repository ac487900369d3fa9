//! Which of the installations that bear the same name this is: two servers that look after the same namespaces would undo each other's work.
//!
//! A namespace bears the number of the installation that was there first, and no other one touches it.

use crate::{Cluster, ClusterError, Object, patient};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::Api;

/// Whose a namespace is, among installations of one name.
pub const NOTE_INSTALLATION: &str = "hythe.dev/installation";

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
            namespace.value.annotations_mut().insert(NOTE_INSTALLATION.to_owned(), number.to_string());
        }
        namespace
    }

    /// Whether another installation has made a namespace.
    pub(crate) fn is_anothers(&self, namespace: &impl ResourceExt) -> bool {
        let noted = namespace.annotations().get(NOTE_INSTALLATION);
        noted.zip(self.number.as_deref()).is_some_and(|(noted, own)| noted != own)
    }

    /// Whether another installation has made the namespace of this name: what is in it is not ours, whatever its labels say.
    pub async fn has_another(&self, namespace: &str) -> Result<bool, ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = patient("read a namespace", || namespaces.get_opt(namespace)).await?;
        Ok(found.is_some_and(|found| self.is_anothers(&found)))
    }
}
