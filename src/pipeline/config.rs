//! Config of a tool: changed here, sealed in the store, opened only for a build or an instance.

use hythe_model::{Actor, Fault, Release, ToolName};
use secrecy::SecretString;
use crate::Platform;

/// One change of a tool's config.
#[derive(Debug, Clone)]
pub enum ConfigChange {
    /// Sets a key.
    Set {
        /// Its name: letters, digits and underscores, not starting with a digit.
        key: String,
        /// Its value.
        value: SecretString,
        /// Where it is seen.
        scope: hythe_store::ConfigScope,
    },
    /// Removes a key; one that is not set is a fault.
    Unset {
        /// Its name.
        key: String,
    },
}

/// One key of a tool's config, opened.
#[derive(Debug, Clone)]
pub struct ConfigEntry {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: SecretString,
    /// Where it is seen.
    pub scope: hythe_store::ConfigScope,
}

impl Platform {
    /// Writes a new version of the config and releases it where something is deployed; `None` where nothing is.
    pub async fn change_config(&self, actor: &Actor, tool: &ToolName, changes: Vec<ConfigChange>) -> Result<Option<Release>, Fault> {
        todo!()
    }

    /// The config's keys and values.
    pub async fn config(&self, tool: &ToolName) -> Result<Vec<ConfigEntry>, Fault> {
        todo!()
    }
}
