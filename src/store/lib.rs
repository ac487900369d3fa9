//! The platform's rows: tools, maintainers, keys, tokens, builds, releases, config versions, instances.
//!
//! Enter at [`Store::open`]; every method group lies in the file of its noun. One writer and several readers share
//! one `SQLite` file in WAL mode; what a method has acknowledged is on the disk. SQL lives in this room and nowhere
//! else, and nothing here knows a protocol, a secret's plain text or what a build does.

mod backup;
mod builds;
mod codec;
mod config;
mod db;
mod error;
mod keys;
mod maintainers;
mod queue;
mod releases;
mod retention;
mod schema;
mod tokens;
mod tools;

#[cfg(test)]
mod tests;

pub use builds::{Build, BuildOutcome, BuildState, NewBuild};
pub use config::{ConfigEdit, ConfigScope, ConfigValue, SealedValue};
pub use db::StoreOptions;
pub use error::StoreError;
pub use keys::{Key, KeyOwner, NewKey};
pub use maintainers::Maintainer;
pub use releases::{Activation, NewRelease};
pub use retention::RetainedRelease;
pub use tokens::{NewToken, Token};
pub use tools::{DeployRef, Member, Role, Tool, ToolSettings};

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The rows of the platform. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) db: Arc<db::Db>,
}

impl Store {
    /// Opens or makes the database, and brings its schema up to this program's.
    ///
    /// # Errors
    /// [`StoreError::SchemaTooNew`] where a newer program has changed the schema beyond what this one can read.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, StoreOptions::default()).await
    }

    /// The same with other than the usual options.
    pub async fn open_with(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let file: PathBuf = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || db::Db::open(&file, &options)).await;
        let fault = |reason: String| StoreError::Open { path: path.to_owned(), reason };
        let db = opened.map_err(|error| fault(error.to_string()))??;
        Ok(Self { db: Arc::new(db) })
    }

    /// The database's file.
    pub fn path(&self) -> &Path {
        &self.db.path
    }
}
