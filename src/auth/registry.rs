//! The embedded registry's two questions: who is there, and may they.

use crate::{Auth, AuthError, Identity};

/// What a registry client wants of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryAccess {
    /// Read manifests and blobs.
    Pull,
    /// Write them.
    Push,
}

impl Auth {
    /// Checks a user name and password: the password is a token, the name its maintainer's or `token`.
    pub async fn registry_login(&self, user: &str, password: &str) -> Result<Option<Identity>, AuthError> {
        todo!("{user} {}", password.len())
    }

    /// Whether an identity may use a repository: `tools/<tool>` by its rights on the tool, `stacks/...` for everybody
    /// with an account to pull and for administrators to push, everything else never.
    pub async fn registry_allowed(
        &self,
        identity: &Identity,
        repository: &str,
        access: RegistryAccess,
    ) -> Result<bool, AuthError> {
        todo!("{identity:?} {repository} {access:?}")
    }
}
