//! The registry's users, answered by auth: the password is a token.

use async_trait::async_trait;
use hythe_auth::{Auth, Identity, RegistryAccess};
use hythe_model::{Actor, MaintainerName};
use hythe_registry::{RegistryAction, RegistryAuth, Repository, Subject};

/// Who may pull and push images.
pub(crate) struct ImageAuth(pub(crate) Auth);

#[async_trait]
impl RegistryAuth for ImageAuth {
    async fn verify(&self, user: &str, secret: &str) -> Option<Subject> {
        let identity = match self.0.registry_login(user, secret).await {
            Ok(identity) => identity?,
            Err(error) => {
                tracing::error!(%error, "a registry login could not be checked");
                return None;
            }
        };
        match identity.actor {
            Actor::Maintainer(name) => Some(Subject::User(name.to_string())),
            Actor::DeployKey(_) | Actor::Platform => None,
        }
    }

    async fn allowed(&self, subject: &Subject, repository: &Repository, action: RegistryAction) -> bool {
        let Subject::User(name) = subject else { return false };
        let Ok(name) = name.parse::<MaintainerName>() else { return false };
        let access = match action {
            RegistryAction::Pull => RegistryAccess::Pull,
            RegistryAction::Push | RegistryAction::Delete => RegistryAccess::Push,
        };
        let identity = Identity { actor: Actor::Maintainer(name) };
        self.0.registry_allowed(&identity, repository.as_str(), access).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a registry right could not be checked");
            false
        })
    }
}
