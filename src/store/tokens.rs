//! API tokens: only their hashes.

use crate::{Store, StoreError};
use hythe_model::MaintainerName;
use jiff::Timestamp;

/// A token to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Whom it stands for.
    pub maintainer: MaintainerName,
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// When it ends; never where `None`.
    pub expires_at: Option<Timestamp>,
}

/// A kept token, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its number, for `tokens revoke`.
    pub id: i64,
    /// Whom it stands for.
    pub maintainer: MaintainerName,
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; never where `None`.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl Store {
    /// Keeps a token.
    pub async fn create_token(&self, token: NewToken) -> Result<Token, StoreError> {
        todo!("{token:?}")
    }

    /// A maintainer's tokens, oldest first, expired ones included.
    pub async fn tokens(&self, maintainer: &MaintainerName) -> Result<Vec<Token>, StoreError> {
        todo!("{maintainer}")
    }

    /// Removes one of a maintainer's tokens.
    pub async fn revoke_token(&self, maintainer: &MaintainerName, id: i64) -> Result<(), StoreError> {
        todo!("{maintainer} {id}")
    }

    /// The unexpired token with this hash.
    pub async fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        todo!("{hash:?}")
    }

    /// Notes that a token was used; writes at most once a minute.
    pub async fn touch_token(&self, id: i64) -> Result<(), StoreError> {
        todo!("{id}")
    }
}
