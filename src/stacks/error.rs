//! What can go wrong while a stack is made.

use std::io;
use std::path::PathBuf;

/// A failure of [`crate::ensure`]; an operator's matter, never a tool's.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The definition's file cannot be read.
    #[error("cannot read {path}: {source}")]
    ReadDefinition {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The definition's file is not what it should be.
    #[error("{path} is not a stack definition: {source}")]
    ParseDefinition {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}
