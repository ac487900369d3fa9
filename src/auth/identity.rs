//! From a credential to an identity.

use crate::attempts::Attempts;
use crate::token::{generate, is_shaped};
use crate::{Action, AuthError, Decision, IssuedToken, PublicKey, Standing, decide, hash_token};
use hythe_model::{Actor, MaintainerName, ToolName};
use hythe_store::{Key, KeyOwner, NewKey, NewToken, Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// A use is noted anew once the last note is so old.
const NOTED: SignedDuration = SignedDuration::from_secs(60);
/// The account of the first run.
const FIRST: &str = "admin";

/// Who is there: an actor whose credential was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The actor.
    pub actor: Actor,
}

/// What came of showing a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It stands for somebody.
    Known(Identity),
    /// It is unknown, revoked or has expired.
    Unknown,
    /// It was not looked at: too many wrong ones came from the same address.
    TooMany {
        /// How long until the next one is looked at.
        wait: Duration,
    },
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
    attempts: Arc<Attempts>,
}

impl Auth {
    /// Over these rows.
    pub fn new(store: Store) -> Self {
        Self { store, attempts: Arc::default() }
    }

    /// Makes the account `admin` with a token where there is no account yet; `None` on every later start.
    pub async fn bootstrap(&self) -> Result<Option<Bootstrap>, AuthError> {
        if !self.store.maintainers().await?.is_empty() {
            return Ok(None);
        }
        let name: MaintainerName =
            FIRST.parse().map_err(|_| StoreError::Absent { what: FIRST.to_owned() })?;
        self.store.create_maintainer(&name, true).await?;
        let token = self.issue_token(&name, "first run", None).await?;
        Ok(Some(Bootstrap { maintainer: name, token }))
    }

    /// A new token of the account `admin`, which is made where it is missing: for whoever
    /// holds the data folder and has lost every other.
    pub async fn admin_token(&self) -> Result<IssuedToken, AuthError> {
        let name: MaintainerName =
            FIRST.parse().map_err(|_| StoreError::Absent { what: FIRST.to_owned() })?;
        if self.store.maintainer(&name).await?.is_none() {
            self.store.create_maintainer(&name, true).await?;
        }
        self.issue_token(&name, "recovery", None).await
    }

    /// Whom this SSH key stands for; notes the use. The caller has checked, or checks, the signature.
    pub async fn authenticate_key(&self, key: &PublicKey) -> Result<Option<Identity>, AuthError> {
        let found = self.store.key(key.fingerprint()).await?;
        let Some(row) = found.filter(|row| row.openssh == key.openssh()) else { return Ok(None) };
        if is_old(row.last_used_at) {
            noted(self.store.touch_key(&row.fingerprint).await);
        }
        let actor = match row.owner {
            KeyOwner::Maintainer(name) => Actor::Maintainer(name),
            KeyOwner::Deploy(tool) => Actor::DeployKey(tool),
        };
        Ok(Some(Identity { actor }))
    }

    /// Whether a key is known still: a connection outlives the moment in which it proved the key.
    pub async fn knows_key(&self, fingerprint: &str) -> Result<bool, AuthError> {
        Ok(self.store.key(fingerprint).await?.is_some())
    }

    /// Checks a token that somebody shows from this address. Twenty wrong ones a minute are looked at.
    pub async fn check_token(&self, token: &str, from: Option<IpAddr>) -> Result<Checked, AuthError> {
        if let Some(wait) = from.and_then(|from| self.attempts.wait(from, Instant::now())) {
            return Ok(Checked::TooMany { wait });
        }
        if let Some(identity) = self.authenticate_token(token).await? {
            return Ok(Checked::Known(identity));
        }
        if let Some(from) = from {
            self.attempts.failed(from, Instant::now());
        }
        Ok(Checked::Unknown)
    }

    /// Whom this token's text stands for; notes the use. `None` for unknown, revoked and expired ones alike.
    pub async fn authenticate_token(&self, token: &str) -> Result<Option<Identity>, AuthError> {
        if !is_shaped(token) {
            return Ok(None);
        }
        let hash = hash_token(token);
        let found = self.store.token(&hash).await?;
        let Some(row) = found.filter(|row| bool::from(row.hash.ct_eq(&hash))) else { return Ok(None) };
        if is_old(row.last_used_at) {
            noted(self.store.touch_token(row.id).await);
        }
        Ok(Some(Identity { actor: Actor::Maintainer(row.maintainer) }))
    }

    /// Issues a token. Its text exists in the answer alone.
    pub async fn issue_token(
        &self,
        maintainer: &MaintainerName,
        name: &str,
        lifetime: Option<Duration>,
    ) -> Result<IssuedToken, AuthError> {
        let token = generate();
        // A lifetime beyond what a time can hold is as good as none.
        let end = |lifetime| Timestamp::now().checked_add(SignedDuration::try_from(lifetime).ok()?).ok();
        let row = NewToken {
            maintainer: maintainer.clone(),
            name: name.to_owned(),
            hash: hash_token(token.expose_secret()),
            expires_at: lifetime.and_then(end),
        };
        let row = self.store.create_token(row).await?;
        Ok(IssuedToken { token, row })
    }

    /// Adds a checked key. An empty title is replaced by the key's own comment.
    pub async fn add_key(&self, owner: KeyOwner, key: &PublicKey, title: &str) -> Result<Key, AuthError> {
        let title = if title.trim().is_empty() { key.comment() } else { title.trim() };
        let row = NewKey {
            owner,
            fingerprint: key.fingerprint().to_owned(),
            algorithm: key.algorithm().to_owned(),
            openssh: key.openssh().to_owned(),
            title: title.to_owned(),
        };
        Ok(self.store.add_key(row).await?)
    }

    /// Whether an actor may do this, to this tool where the action has one. The only place that decides.
    ///
    /// A tool that does not exist is absent for everybody, and cannot be told from one the actor has no rights on.
    pub async fn allow(
        &self,
        actor: &Actor,
        action: Action,
        tool: Option<&ToolName>,
    ) -> Result<Decision, AuthError> {
        let tool = tool.filter(|_| action != Action::ToolCreate);
        if let Some(name) = tool
            && self.store.tool(name).await?.is_none()
        {
            return Ok(Decision::absent(name));
        }
        let standing = self.standing(actor, tool).await?;
        Ok(decide(standing, action, tool))
    }

    async fn standing(&self, actor: &Actor, tool: Option<&ToolName>) -> Result<Standing, AuthError> {
        let name = match actor {
            Actor::Platform => return Ok(Standing::Platform),
            Actor::DeployKey(own) if tool == Some(own) => return Ok(Standing::DeployKey),
            Actor::DeployKey(_) => return Ok(Standing::Nobody),
            Actor::Maintainer(name) => name,
        };
        let Some(account) = self.store.maintainer(name).await? else { return Ok(Standing::Nobody) };
        if account.admin {
            return Ok(Standing::Admin);
        }
        let role = match tool {
            Some(tool) => self.store.role(tool, name).await?,
            None => None,
        };
        Ok(Standing::Maintainer(role))
    }
}

fn is_old(last: Option<Timestamp>) -> bool {
    last.is_none_or(|last| Timestamp::now().duration_since(last) > NOTED)
}

/// A use that cannot be noted refuses nobody.
fn noted(answer: Result<(), StoreError>) {
    if let Err(error) = answer {
        tracing::warn!(%error, "the use of a credential could not be noted");
    }
}
