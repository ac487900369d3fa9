//! The configuration file: a struct a section, units in words, and the commented template.
//!
//! Enter at [`Config::load`]. Every setting has a default, so that no file at all is a valid configuration; a mistake in
//! the file is shown with its line and, where one is near, the name that was meant. The environment overrides the
//! file: `HYTHE_SSH__LISTEN` is `listen` of `[ssh]`. This room reads one file and opens nothing else.

mod environment;
mod error;
mod sections;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, Invalid};
pub use hythe_model::units::{Cores, Size, Span};
pub use sections::{
    Api, Builder, Egress, ExecutorKind, ExternalRegistry, Kubernetes, Limits, Logs, Mirrors, Mount, Objects,
    OtherQuota, Quota, Registry, Rollout, Router, RuntimeKind, Sandbox, Server, Ssh, Stacks, Store, Tls,
    TlsMode,
};

use serde::Deserialize;
use std::path::Path;

/// The commented file that `hythed print-config` prints. Each commented setting is the default.
pub const TEMPLATE: &str = include_str!("hythe.toml");

/// Everything that an operator may choose.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The server itself.
    pub server: Server,
    /// Pushes.
    pub ssh: Ssh,
    /// The HTTP API.
    pub api: Api,
    /// Traffic to tools.
    pub router: Router,
    /// Certificates of router and API.
    pub tls: Tls,
    /// Rows.
    pub store: Store,
    /// What several servers share beside the rows.
    pub objects: Objects,
    /// Images.
    pub registry: Registry,
    /// Base images.
    pub stacks: Stacks,
    /// Builds.
    pub builder: Builder,
    /// The sandbox, and the limits of an instance in it.
    pub sandbox: Sandbox,
    /// Releases getting ready.
    pub rollout: Rollout,
    /// Tools in a cluster.
    pub kubernetes: Kubernetes,
    /// Folders that tools may read.
    pub mounts: Vec<Mount>,
    /// The way out for builds and tools.
    pub egress: Egress,
    /// Logs.
    pub logs: Logs,
    /// What a push may bring.
    pub limits: Limits,
}

impl Config {
    /// Reads a file, or takes the defaults where there is none, and lays the environment over it.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let Some(path) = file else {
            return environment::overlay("", environment)?.checked("", "the environment");
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), reason: error.to_string() })?;
        let name = path.display().to_string();
        // First the file alone, so that a mistake in it is shown with its line.
        Self::read(&text, &name)?;
        environment::overlay(&text, environment)?.checked(&text, &name)
    }

    /// Reads the text of a file; `name` is shown in messages.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        Self::read(text, name)?.checked(text, name)
    }

    fn read(text: &str, name: &str) -> Result<Self, ConfigError> {
        Ok(toml::from_str(text).map_err(|error| Invalid::from_toml(&error, text, name))?)
    }

    fn checked(self, text: &str, name: &str) -> Result<Self, ConfigError> {
        match self.contradiction() {
            None => Ok(self),
            Some(found) => Err(Invalid::of_setting(found, text, name).into()),
        }
    }
}

/// Two settings that do not go together, or one out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contradiction {
    pub(crate) section: &'static str,
    pub(crate) key: &'static str,
    pub(crate) what: &'static str,
    pub(crate) next: &'static str,
}
