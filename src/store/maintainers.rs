//! Maintainers: who holds keys, tokens and tools.

use crate::{Store, StoreError};
use hythe_model::MaintainerName;
use jiff::Timestamp;

/// A person or machine account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintainer {
    /// The name.
    pub name: MaintainerName,
    /// Whether every action on every tool is allowed.
    pub admin: bool,
    /// When the account was made.
    pub created_at: Timestamp,
}

impl Store {
    /// Makes an account.
    pub async fn create_maintainer(
        &self,
        name: &MaintainerName,
        admin: bool,
    ) -> Result<Maintainer, StoreError> {
        todo!("{name} {admin}")
    }

    /// One account.
    pub async fn maintainer(&self, name: &MaintainerName) -> Result<Option<Maintainer>, StoreError> {
        todo!("{name}")
    }

    /// All accounts, by name.
    pub async fn maintainers(&self) -> Result<Vec<Maintainer>, StoreError> {
        todo!()
    }
}
