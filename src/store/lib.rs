//! The platform's rows: tools, maintainers, keys, tokens, builds, releases, config versions, leases.
//!
//! Enter at [`Store::open`]; every method group lies in the file of its noun. The rows are in a file of `SQLite` (one writer
//! and several readers, WAL) or in a database of a PostgreSQL server that several servers share; methods mean the same on
//! both, and what one has acknowledged is on the disk. SQL lives in this room and nowhere else, and nothing here knows a
//! protocol, a secret's plain text or what a build does.

mod answers;
mod backup;
mod builds;
mod changes;
mod claims;
mod codec;
mod config;
mod connection;
mod copy;
mod database;
mod db;
mod dialect;
mod error;
mod keys;
mod leases;
mod logs;
mod maintainers;
mod migrate;
mod postgres;
mod queue;
mod releases;
mod repositories;
mod retention;
mod schema;
mod sqlite;
mod tokens;
mod tool_logs;
mod tools;

#[cfg(test)]
mod tests;

pub use answers::InstanceAnswers;
pub use builds::{Build, BuildOutcome, BuildState, NewBuild};
pub use changes::Changes;
pub use config::{ConfigEdit, ConfigScope, ConfigValue, SealedValue};
pub use copy::Copied;
pub use database::Database;
pub use db::StoreOptions;
pub use error::StoreError;
pub use keys::{Key, KeyOwner, NewKey};
pub use leases::Lease;
pub use logs::{LogPiece, LogState};
pub use maintainers::Maintainer;
pub use releases::{Activation, NewRelease};
pub use repositories::{RefMove, RepositoryState, RepositoryVersion};
pub use retention::RetainedRelease;
pub use tokens::{NewToken, Token};
pub use tool_logs::{
    LogBatch, LogLines, LogReach, LogSegment, LogSource, OpenLog, SourceMove, ToolLines, ToolLogPart,
    WrittenLog,
};
pub use tools::{DeployRef, Member, Role, Tool, ToolSettings};

use hythe_model::{Finding, Verdict};
use std::path::Path;
use std::sync::Arc;

/// The rows of the platform. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) db: Arc<db::Db>,
    /// By whom writes are made that only the holder of a claim or a turn may make.
    pub(crate) holder: Option<Arc<str>>,
}

impl Store {
    /// Opens the database, which is made where it is a file, and brings its schema up to this program's.
    ///
    /// # Errors
    /// [`StoreError::SchemaTooNew`] where a newer program has changed the schema beyond what this one can read.
    pub async fn open(database: impl Into<Database>) -> Result<Self, StoreError> {
        Self::open_with(database, StoreOptions::default()).await
    }

    /// The same with other than the usual options.
    pub async fn open_with(database: impl Into<Database>, options: StoreOptions) -> Result<Self, StoreError> {
        let db = match database.into() {
            Database::File(file) => {
                let open = move || sqlite::Connections::open(&file, &options);
                db::Db::File(db::blocking("open the database", open).await??)
            }
            Database::Postgres { url } => db::Db::Server(postgres::Connections::open(&url, &options).await?),
        };
        Ok(Self { db: Arc::new(db), holder: None })
    }

    /// Whether the database can be used, as an operator is told. Nothing is changed in it.
    pub async fn check(database: &Database, options: StoreOptions) -> Finding {
        const ABOUT: &str = "database";
        let Database::Postgres { url } = database else {
            return Finding::pass(ABOUT, database.to_string());
        };
        match postgres::Connections::look(url, &options).await {
            Ok(version) => Finding::pass(ABOUT, format!("PostgreSQL {version}: {database}")),
            Err(error) => {
                let mend = "see that url in [store] is right and the server answers from here";
                Finding::lacking(ABOUT, Verdict::Failure, error.to_string(), mend)
            }
        }
    }

    /// The same rows, for one holder of claims and leases: what it writes about a build that another one runs, or in the turn of
    /// another, is refused. Without a holder nothing is.
    #[must_use]
    pub fn held_by(&self, holder: &str) -> Self {
        Self { db: self.db.clone(), holder: Some(holder.into()) }
    }

    /// The database's file, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match &*self.db {
            db::Db::File(file) => Some(&file.path),
            db::Db::Server(_) => None,
        }
    }
}
