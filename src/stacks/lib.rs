//! Stack definitions and their base images.
//!
//! A stack is a folder with a `stack.toml`: packages, users and targets as data. [`ensure`] is the entrance: it finds
//! the stack's images in the content store, takes them from a cache, or builds them with mmdebstrap as an ordinary user.
//! This room never runs a tool's code and never talks to a registry over the network.

mod definition;
mod error;
mod image;

pub use definition::{Archive, Definition, Distribution, PackageSet, Target, User, Users};
pub use error::StackError;
pub use image::{StackImage, StackImages, StackLayer};

use hythe_registry::ContentStore;
use std::path::PathBuf;

/// Where packages come from.
#[derive(Debug, Clone)]
pub struct Mirrors {
    /// Debian's archive, as in `http://deb.debian.org/debian`.
    pub debian: String,
    /// Debian's security archive.
    pub debian_security: String,
    /// The npm registry, from which Node.js and npm are taken.
    pub npm: String,
}

impl Default for Mirrors {
    fn default() -> Self {
        Self {
            debian: "http://deb.debian.org/debian".into(),
            debian_security: "http://deb.debian.org/debian-security".into(),
            npm: "https://registry.npmjs.org".into(),
        }
    }
}

/// What [`ensure`] needs to know.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The folder that holds `stack.toml`.
    pub definition: PathBuf,
    /// A folder for archives while they are made; it must lie on a file system with about 2 GB free.
    pub work: PathBuf,
    /// A folder that keeps finished layers beyond this data folder's life, so that another one starts at once.
    pub cache: Option<PathBuf>,
    /// Where packages come from.
    pub mirrors: Mirrors,
}

/// Finds, fetches from the cache or builds the stack's images, and publishes them as `stacks/<id>/{run,build}`.
///
/// `progress` is called with one line of text for people at each step that takes noticeable time; not at all where the
/// images are there already.
pub async fn ensure(
    content: &ContentStore,
    options: &StackOptions,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<StackImages, StackError> {
    let _ = (content, options, progress);
    todo!()
}
