//! The platform's rows: tools, maintainers, keys, tokens, builds, releases, config versions, instances.
//!
//! Enter at [`Store::open`]; every method group lies in the file of its noun. One writer and several readers share
//! one SQLite file in WAL mode; what a method has acknowledged is on the disk. SQL lives in this room and nowhere
//! else, and nothing here knows a protocol, a secret's plain text or what a build does.

mod builds;
mod config;
mod error;
mod instances;
mod keys;
mod maintainers;
mod releases;
mod tokens;
mod tools;

pub use builds::{Build, BuildOutcome, BuildState, NewBuild};
pub use config::{ConfigEdit, ConfigScope, ConfigValue, SealedValue};
pub use error::StoreError;
pub use instances::{InstanceRow, InstanceState};
pub use keys::{Key, KeyOwner, NewKey};
pub use maintainers::Maintainer;
pub use releases::{Activation, NewRelease};
pub use tokens::{NewToken, Token};
pub use tools::{DeployRef, Member, Role, Tool, ToolSettings};

use std::path::Path;

/// The rows of the platform. Cheap to clone.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens or makes the database, and brings its schema up to this program's.
    ///
    /// # Errors
    /// [`StoreError::SchemaTooNew`] where a newer program has changed the schema beyond what this one can read.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        todo!("{path:?}")
    }

    /// Writes a consistent copy of the whole database to a new file while everything goes on.
    pub async fn backup_to(&self, path: &Path) -> Result<(), StoreError> {
        todo!("{path:?}")
    }
}
