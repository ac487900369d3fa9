//! Cloud Native Buildpacks: file formats, and the rules that turn them into decisions. Pure.
//!
//! Each file format has its module: [`buildpack`] and [`order`] (what there is), [`plan`] and [`detect`] (what
//! applies), [`layer`], [`launch`] and [`output`] (what a buildpack made), [`metadata`] and [`labels`] (what the
//! image says of itself), [`mod@env`] (what a process sees). [`protocol`] is what the lifecycle program and the trusted
//! side of a build say to each other. Nothing here opens a file, starts a process or knows a network.

pub mod api;
pub mod builder;
pub mod buildpack;
pub mod detect;
pub mod env;
pub mod id;
pub mod labels;
pub mod launch;
pub mod layer;
pub mod metadata;
pub mod order;
pub mod output;
pub mod plan;
pub mod protocol;

pub use api::{BuildpackApi, PLATFORM_API};
pub use id::{BuildpackId, IdError, LayerName, ProcessName, Version};
pub use order::{Group, GroupElement, Order};

/// A TOML table: the metadata that buildpacks keep with their layers, passed on as it is.
pub type Table = toml::Table;

/// A file of the specification that does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct FormatError {
    /// The file's name, as in `launch.toml`.
    pub file: String,
    /// What is wrong with it, fit for a user.
    pub reason: String,
}

impl FormatError {
    /// An error about this file.
    pub fn new(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { file: file.into(), reason: reason.into() }
    }
}

/// Reads a TOML file of this name; unknown keys are left alone, as the specification asks.
pub(crate) fn read<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, FormatError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        FormatError::new(file, format!("{place}{}", error.message()))
    })
}
