//! Config of a tool: changed here, sealed in the store, opened only for a build or an instance.

use crate::{Platform, faults};
use hythe_model::{Actor, Fault, Release, ReleaseCause, ToolName};
use hythe_store::{ConfigEdit, ConfigScope, ConfigValue};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;

/// The largest value, in bytes.
const VALUE_MAX: usize = 64 * 1024;
/// Keys of one tool.
const KEYS_MAX: usize = 200;
/// Bytes of one tool's values, sealed.
const BYTES_MAX: usize = 1 << 20;
/// The longest key, in bytes.
const KEY_MAX: usize = 128;

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
        scope: ConfigScope,
    },
    /// Removes a key; one that is not set is a fault.
    Unset {
        /// Its name.
        key: String,
    },
}

impl ConfigChange {
    fn key(&self) -> &str {
        match self {
            Self::Set { key, .. } | Self::Unset { key } => key,
        }
    }

    /// What it sets.
    fn entry(&self) -> Option<ConfigEntry> {
        let Self::Set { key, value, scope } = self else { return None };
        Some(ConfigEntry { key: key.clone(), value: value.clone(), scope: *scope })
    }
}

/// One key of a tool's config, opened.
#[derive(Debug, Clone)]
pub struct ConfigEntry {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: SecretString,
    /// Where it is seen.
    pub scope: ConfigScope,
}

impl ConfigEntry {
    /// Name and plain value, for an environment.
    pub(crate) fn into_pair(self) -> (String, String) {
        (self.key, self.value.expose_secret().to_owned())
    }
}

impl Platform {
    /// Writes a new version of the config and releases it where something is deployed; `None` where nothing is.
    pub async fn change_config(
        &self,
        actor: &Actor,
        tool: &ToolName,
        changes: Vec<ConfigChange>,
    ) -> Result<Option<Release>, Fault> {
        // Of two changes at once the second starts from what the first has released.
        let turn = self.turn(tool).await?;
        self.tool(tool).await?;
        let keys = changes.iter().map(|change| change.key().to_owned()).collect();
        let set = changes.iter().filter_map(ConfigChange::entry).collect::<Vec<_>>();
        let edits =
            changes.into_iter().map(|change| self.seal(tool, change)).collect::<Result<Vec<_>, _>>()?;
        let base = self.current_config(tool).await?;
        self.expect_room(tool, base, &edits).await?;
        if !set.is_empty() {
            self.expect_maskable(tool, set).await?;
        }
        let version = self.store().change_config(tool, base, edits, actor).await?;
        self.logs().mask_anew(tool);
        if self.store().live_release(tool).await?.is_none() {
            return Ok(None);
        }
        let release = self.release_in_turn(&turn, actor, tool, |draft| {
            draft.config = Some(version);
            Ok(ReleaseCause::Config { keys })
        });
        release.await.map(Some)
    }

    /// Number of the config in force, which the next release starts from: the live release's, so that a rollback takes the
    /// config back too; the newest where nothing is live yet.
    pub async fn current_config(&self, tool: &ToolName) -> Result<i64, Fault> {
        match self.store().live_release(tool).await? {
            Some(live) => Ok(live.config),
            None => Ok(self.store().latest_config(tool).await?),
        }
    }

    /// The current config's keys and values.
    pub async fn config(&self, tool: &ToolName) -> Result<Vec<ConfigEntry>, Fault> {
        let version = self.current_config(tool).await?;
        self.open_config(tool, version).await
    }

    /// One version's keys and values.
    pub(crate) async fn open_config(&self, tool: &ToolName, version: i64) -> Result<Vec<ConfigEntry>, Fault> {
        let open = |value: ConfigValue| {
            let plain = self.parts().keys.open(tool, &value.key, &value.sealed);
            let plain = plain.map_err(|error| {
                tracing::error!(%tool, key = value.key, %error, "a config value cannot be opened");
                faults::config_unreadable(tool, &value.key)
            })?;
            Ok(ConfigEntry { key: value.key, value: plain, scope: value.scope })
        };
        self.store().config(tool, version).await?.into_iter().map(open).collect()
    }

    /// A fault where a config would grow beyond its bounds.
    async fn expect_room(&self, tool: &ToolName, base: i64, edits: &[ConfigEdit]) -> Result<(), Fault> {
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        for value in self.store().config(tool, base).await? {
            sizes.insert(value.key, value.sealed.len());
        }
        for edit in edits {
            match edit {
                ConfigEdit::Set(value) => drop(sizes.insert(value.key.clone(), value.sealed.len())),
                ConfigEdit::Unset(key) => drop(sizes.remove(key)),
            }
        }
        let bytes: usize = sizes.values().sum();
        if sizes.len() > KEYS_MAX || bytes > BYTES_MAX { Err(faults::config_too_much()) } else { Ok(()) }
    }

    fn seal(&self, tool: &ToolName, change: ConfigChange) -> Result<ConfigEdit, Fault> {
        check_key(change.key())?;
        let (key, value, scope) = match change {
            ConfigChange::Unset { key } => return Ok(ConfigEdit::Unset(key)),
            ConfigChange::Set { key, value, scope } => (key, value, scope),
        };
        if value.expose_secret().len() > VALUE_MAX || value.expose_secret().contains('\0') {
            return Err(faults::config_too_large());
        }
        let sealed = self.parts().keys.seal(tool, &key, &value);
        let sealed = sealed.map_err(|error| faults::internal("seal a config value", &error))?;
        Ok(ConfigEdit::Set(ConfigValue { key, sealed, scope }))
    }
}

fn check_key(key: &str) -> Result<(), Fault> {
    let shape = key.len() <= KEY_MAX
        && key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !shape {
        return Err(faults::config_key(&key.chars().take(KEY_MAX).collect::<String>()));
    }
    if key == "PORT" || key.starts_with("CNB_") || key.starts_with("HYTHE_") {
        return Err(faults::config_reserved(key));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_names_of_variables_and_not_the_platforms() {
        for good in ["A", "_x", "DATABASE_URL", "a1"] {
            assert!(check_key(good).is_ok(), "{good}");
        }
        for bad in ["", "1A", "A-B", "A=B", "PORT", "CNB_APP_DIR", "HYTHE_TOOL", &"A".repeat(129)] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
    }
}
