//! What can go wrong while a stack is made.

use hythe_model::Digest;
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
    /// A value of the definition cannot be used.
    #[error("the stack definition cannot be used: {0}")]
    Definition(String),
    /// mmdebstrap is not installed, or does not start.
    #[error("cannot start mmdebstrap ({source}); it comes with the Debian package `mmdebstrap`")]
    StartBootstrap {
        /// Why.
        source: io::Error,
    },
    /// mmdebstrap ended with an error.
    #[error("mmdebstrap failed ({status}):\n{tail}")]
    Bootstrap {
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its last lines.
        tail: String,
    },
    /// An archive cannot be downloaded.
    #[error("cannot download {url}: {source}")]
    Download {
        /// The address.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// An archive is not the one that the definition names.
    #[error("{url} is {found}, not {expected}")]
    Integrity {
        /// The address.
        url: String,
        /// What the definition says.
        expected: Digest,
        /// What arrived.
        found: String,
    },
    /// An archive cannot be read or written.
    #[error("cannot unpack {path}: {source}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A layer cannot be written.
    #[error("cannot write the {image} layer: {source}")]
    Layer {
        /// `run` or `build`.
        image: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file or folder of the work or cache folder cannot be used.
    #[error("cannot {operation} {path}: {source}")]
    Files {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The images cannot be put into the content store.
    #[error("cannot publish the stack: {0}")]
    Publish(#[from] hythe_registry::RegistryError),
    /// The stack's name makes no repository or tag.
    #[error("cannot publish the stack: {0}")]
    Name(#[from] hythe_registry::ReferenceError),
    /// An image's documents cannot be written or read.
    #[error("cannot publish the stack: {0}")]
    Image(#[from] hythe_oci::ImageError),
}
