//! Which of the installations that bear the same name this is: two servers that look after the same namespaces would undo each other's work.

use crate::{Cluster, Object};
use hythe_model::Fault;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::Api;
use std::time::Duration;

/// Whose a namespace is, among installations of one name.
const NOTE: &str = "hythe.dev/installation";
/// How long a start waits for the answer: what is somebody else's is seen again before it is touched.
const PATIENCE: Duration = Duration::from_secs(5);

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

    /// A refusal where another installation of this name has builds in the cluster, in the namespace `builds`.
    ///
    /// # Errors
    /// `rollout/another-installation`. A cluster that does not answer is no reason not to start.
    pub async fn expect_own(&self, builds: &str) -> Result<(), Fault> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = tokio::time::timeout(PATIENCE, namespaces.get_opt(builds)).await;
        match found {
            Ok(Ok(Some(found))) if self.is_anothers(&found) => Err(self.another(builds)),
            _ => Ok(()),
        }
    }

    fn another(&self, builds: &str) -> Fault {
        let platform = &self.platform;
        Fault::new(
            "rollout/another-installation",
            format!("Another installation in the cluster is called {platform} too."),
        )
        .why(format!("The namespace {builds} is not of this server's making; two would undo each other's work."))
        .next("Give this one a name of its own: platform and namespace_prefix in [kubernetes].")
        .next(format!(
            "Where the other one is gone for good: kubectl annotate namespaces -l hythe.dev/platform={platform} {NOTE}-"
        ))
    }
}
