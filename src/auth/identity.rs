//! From a credential to an identity.

use crate::{Action, AuthError, Decision, IssuedToken, PublicKey};
use hythe_model::{Actor, MaintainerName, ToolName};
use hythe_store::Store;
use std::time::Duration;

/// Who is there: an actor whose credential was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The actor.
    pub actor: Actor,
}

/// What the first run made.
#[derive(Debug)]
pub struct Bootstrap {
    /// The administrator's account.
    pub maintainer: MaintainerName,
    /// Its first token, shown once.
    pub token: IssuedToken,
}

/// Checks credentials and decides. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    pub(crate) store: Store,
}

impl Auth {
    /// Over these rows.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Makes the account `admin` with a token where there is no account yet; `None` on every later start.
    pub async fn bootstrap(&self) -> Result<Option<Bootstrap>, AuthError> {
        todo!()
    }

    /// Whom this SSH key stands for; notes the use. The caller has checked, or checks, the signature.
    pub async fn authenticate_key(
        &self,
        key: &russh::keys::PublicKey,
    ) -> Result<Option<Identity>, AuthError> {
        todo!("{key:?}")
    }

    /// Whom this token's text stands for; notes the use. `None` for unknown, revoked and expired ones alike.
    pub async fn authenticate_token(&self, token: &str) -> Result<Option<Identity>, AuthError> {
        todo!("{}", token.len())
    }

    /// Issues a token. Its text exists in the answer alone.
    pub async fn issue_token(
        &self,
        maintainer: &MaintainerName,
        name: &str,
        lifetime: Option<Duration>,
    ) -> Result<IssuedToken, AuthError> {
        todo!("{maintainer} {name} {lifetime:?}")
    }

    /// Checks and adds a key.
    pub async fn add_key(
        &self,
        owner: hythe_store::KeyOwner,
        key: &PublicKey,
        title: &str,
    ) -> Result<hythe_store::Key, AuthError> {
        todo!("{owner:?} {key:?} {title}")
    }

    /// Whether an actor may do this, to this tool where the action has one. The only place that decides.
    pub async fn allow(
        &self,
        actor: &Actor,
        action: Action,
        tool: Option<&ToolName>,
    ) -> Result<Decision, AuthError> {
        todo!("{actor} {action:?} {tool:?}")
    }
}
