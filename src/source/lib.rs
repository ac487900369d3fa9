//! Reads pushed trees safely and stores them durably.
//!
//! Enter at [`Repositories`] for the bare repositories that git serves, and at [`SourceStore`] for the archives that
//! builds start from. Everything here blocks: call it where blocking is allowed.
//! This room never runs anything of a repository, never follows its configuration and never checks a tree out.

mod config;
mod error;
mod findings;
#[cfg(test)]
mod fixture;
mod git;
mod history;
mod limits;
mod links;
mod names;
mod project;
mod quarantine;
mod replica;
mod repositories;
mod store;
mod tree;
mod uses;

pub use error::SourceError;
pub use git::{HookCommand, Service};
pub use history::Lineage;
pub use limits::SourceLimits;
pub use quarantine::Quarantine;
pub use replica::{Copied, PackFiles};
pub use repositories::{Repositories, RepositoryOptions};
pub use store::SourceStore;
pub use uses::{CopyUse, InUse};
