//! Config of a tool.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a value is seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigScope {
    /// By buildpacks only.
    Build,
    /// By instances only.
    Run,
    /// By both.
    #[default]
    Both,
}

impl ConfigScope {
    /// The word shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Run => "run",
            Self::Both => "build, run",
        }
    }
}

/// One key of a tool's config.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigEntry {
    /// Its name.
    pub key: String,
    /// Where it is seen.
    pub scope: ConfigScope,
    /// Its value, where it was asked for and the token may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Changes of a tool's config, made together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigPatch {
    /// Keys to set.
    #[serde(default)]
    pub set: Vec<ConfigSet>,
    /// Keys to remove.
    #[serde(default)]
    pub unset: Vec<String>,
}

/// A key to set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigSet {
    /// Its name: letters, digits and underscores, not starting with a digit.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Where it is seen.
    #[serde(default)]
    pub scope: ConfigScope,
}

impl std::fmt::Debug for ConfigEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigEntry").field("key", &self.key).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ConfigSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigSet").field("key", &self.key).finish_non_exhaustive()
    }
}
