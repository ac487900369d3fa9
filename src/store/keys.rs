//! SSH public keys: per maintainer, and deploy keys per tool.

use crate::{Store, StoreError};
use hythe_model::{MaintainerName, ToolName};
use jiff::Timestamp;

/// Whom a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOwner {
    /// A maintainer.
    Maintainer(MaintainerName),
    /// One tool, to which the key may push.
    Deploy(ToolName),
}

/// A key to add; checked by the auth room beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Whom it stands for.
    pub owner: KeyOwner,
    /// `SHA256:` and the base64 digest, as OpenSSH shows it. A key stands for one owner on the whole platform.
    pub fingerprint: String,
    /// Its algorithm, as in `ssh-ed25519`.
    pub algorithm: String,
    /// The key in OpenSSH's one-line form, without comment.
    pub openssh: String,
    /// What its owner calls it.
    pub title: String,
}

/// A stored key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whom it stands for.
    pub owner: KeyOwner,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its algorithm.
    pub algorithm: String,
    /// The key in OpenSSH's one-line form, without comment.
    pub openssh: String,
    /// What its owner calls it.
    pub title: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl Store {
    /// Adds a key.
    pub async fn add_key(&self, key: NewKey) -> Result<Key, StoreError> {
        todo!("{key:?}")
    }

    /// An owner's keys, oldest first.
    pub async fn keys(&self, owner: &KeyOwner) -> Result<Vec<Key>, StoreError> {
        todo!("{owner:?}")
    }

    /// Removes one of an owner's keys.
    pub async fn remove_key(&self, owner: &KeyOwner, fingerprint: &str) -> Result<(), StoreError> {
        todo!("{owner:?} {fingerprint}")
    }

    /// The key with this fingerprint.
    pub async fn key(&self, fingerprint: &str) -> Result<Option<Key>, StoreError> {
        todo!("{fingerprint}")
    }

    /// Notes that a key was used; writes at most once a minute.
    pub async fn touch_key(&self, fingerprint: &str) -> Result<(), StoreError> {
        todo!("{fingerprint}")
    }
}
