//! The embedded registry's two questions: who is there, and may they.

use crate::{Action, Auth, AuthError, Checked, Identity};
use hythe_model::{Actor, ToolName};
use std::net::IpAddr;

/// What a registry client wants of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryAccess {
    /// Read manifests and blobs.
    Pull,
    /// Write them.
    Push,
}

impl Auth {
    /// Checks a user name and password, as [`Auth::check_token`]: the password is a token, the name its maintainer's or
    /// `token`.
    pub async fn registry_login(
        &self,
        user: &str,
        password: &str,
        from: Option<IpAddr>,
    ) -> Result<Checked, AuthError> {
        let named = |actor: &Actor| matches!(actor, Actor::Maintainer(name) if name.as_str() == user);
        Ok(match self.check_token(password, from).await? {
            Checked::Known(identity) if user != "token" && !named(&identity.actor) => Checked::Unknown,
            checked => checked,
        })
    }

    /// Whether an identity may use a repository: `tools/<tool>` by its rights on the tool, `stacks/...` for everybody
    /// with an account to pull and for administrators to push, everything else never.
    pub async fn registry_allowed(
        &self,
        identity: &Identity,
        repository: &str,
        access: RegistryAccess,
    ) -> Result<bool, AuthError> {
        let action = match access {
            RegistryAccess::Pull => Action::RegistryPull,
            RegistryAccess::Push => Action::RegistryPush,
        };
        let decision = match repository.split_once('/') {
            Some(("tools", name)) => {
                let Ok(tool) = name.parse::<ToolName>() else { return Ok(false) };
                self.allow(&identity.actor, action, Some(&tool)).await?
            }
            Some(("stacks", _)) => self.allow(&identity.actor, action, None).await?,
            _ => return Ok(false),
        };
        Ok(decision.is_allowed())
    }
}
