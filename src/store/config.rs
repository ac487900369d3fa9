//! Config versions: immutable numbered sets of sealed values.

use crate::{Store, StoreError};
use hythe_model::{Actor, ToolName};
use serde::{Deserialize, Serialize};

/// Where a value is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigScope {
    /// While building only.
    Build,
    /// While running only.
    Run,
    /// While building and running.
    Both,
}

impl ConfigScope {
    /// Whether builds see it.
    pub fn in_build(self) -> bool {
        matches!(self, Self::Build | Self::Both)
    }

    /// Whether instances see it.
    pub fn in_run(self) -> bool {
        matches!(self, Self::Run | Self::Both)
    }
}

/// One key of a config version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// Its name.
    pub key: String,
    /// Its value, sealed by the auth room's key ring.
    pub sealed: Vec<u8>,
    /// Where it is seen.
    pub scope: ConfigScope,
}

/// One change from a version to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigEdit {
    /// Sets a key.
    Set(ConfigValue),
    /// Removes a key; a fault where it is not set.
    Unset(String),
}

/// A sealed value of any version, for sealing it again under a new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// Its tool.
    pub tool: ToolName,
    /// Its version.
    pub version: i64,
    /// Its name.
    pub key: String,
    /// Its value, sealed.
    pub sealed: Vec<u8>,
}

impl Store {
    /// Writes the next version: `base` (0 is empty) with these changes; answers its number.
    pub async fn change_config(
        &self,
        tool: &ToolName,
        base: i64,
        edits: Vec<ConfigEdit>,
        actor: &Actor,
    ) -> Result<i64, StoreError> {
        todo!("{tool} {base} {edits:?} {actor}")
    }

    /// The values of one version, by key; version 0 is empty.
    pub async fn config(&self, tool: &ToolName, version: i64) -> Result<Vec<ConfigValue>, StoreError> {
        todo!("{tool} {version}")
    }

    /// Number of the newest version; 0 where none was written.
    pub async fn latest_config(&self, tool: &ToolName) -> Result<i64, StoreError> {
        todo!("{tool}")
    }

    /// Every sealed value of every version.
    pub async fn sealed_values(&self) -> Result<Vec<SealedValue>, StoreError> {
        todo!()
    }

    /// Replaces the sealed bytes of values, all or none: the same plain text under another key.
    pub async fn reseal(&self, values: Vec<SealedValue>) -> Result<(), StoreError> {
        todo!("{values:?}")
    }
}
