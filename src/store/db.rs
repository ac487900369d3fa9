//! The connections: one writer, several readers, each used on a thread that may block.

use crate::StoreError;
use crate::schema::schema_info;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as SqlError};
use diesel::sqlite::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// The schema level of this program: raised with a migration that older programs cannot live with.
pub(crate) const LEVEL: i32 = 1;

/// What ended a piece of work: a refusal of ours, or the database's.
pub(crate) enum Failure {
    Refused(StoreError),
    Sql(SqlError),
}

/// What a piece of work answers.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// A broken uniqueness is said as "exists already".
    pub(crate) fn exists(error: SqlError, what: impl FnOnce() -> String) -> Self {
        match error {
            SqlError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => {
                Self::Refused(StoreError::Exists { what: what() })
            }
            other => Self::Sql(other),
        }
    }

    fn named(self, operation: &'static str) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Sql(error) => StoreError::Query { operation, reason: error.to_string() },
        }
    }
}

/// How the database is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Readers beside the one writer.
    pub readers: usize,
    /// How long a statement waits for another process's lock.
    pub busy: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { readers: 4, busy: Duration::from_secs(5) }
    }
}

/// The open database.
pub(crate) struct Db {
    writer: Arc<tokio::sync::Mutex<SqliteConnection>>,
    readers: Arc<Mutex<Vec<SqliteConnection>>>,
    free: Arc<Semaphore>,
    pub(crate) path: PathBuf,
}

impl Db {
    pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        private_file(path).map_err(|reason| StoreError::Open { path: path.to_owned(), reason })?;
        let mut writer = connect(path, options.busy)?;
        migrate(&mut writer)?;
        let count = options.readers.max(1);
        let mut readers = Vec::with_capacity(count);
        for _ in 0..count {
            let mut reader = connect(path, options.busy)?;
            pragma(&mut reader, path, "PRAGMA query_only = ON;")?;
            readers.push(reader);
        }
        Ok(Self {
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            readers: Arc::new(Mutex::new(readers)),
            free: Arc::new(Semaphore::new(count)),
            path: path.to_owned(),
        })
    }

    /// Runs work in one write transaction; what it answers is on the disk.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut SqliteConnection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        blocking(operation, move || writer.immediate_transaction(work)).await
    }

    /// Runs work that reads one consistent state.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut SqliteConnection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reader(operation, move |reader| reader.transaction(work)).await
    }

    /// Runs work on a reader, outside any transaction.
    pub(crate) async fn reader<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut SqliteConnection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = |_| StoreError::Query { operation, reason: "the database is closed".to_owned() };
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(closed)?;
        let readers = Arc::clone(&self.readers);
        blocking(operation, move || {
            let _permit = permit;
            let taken = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut reader) = taken else {
                let reason = "no reader is left".to_owned();
                return Err(Failure::Refused(StoreError::Query { operation, reason }));
            };
            let answer = work(&mut reader);
            readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            answer
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer.map_err(|failure| failure.named(operation)),
        Err(error) => Err(StoreError::Query { operation, reason: error.to_string() }),
    }
}

/// Makes the file readable by its owner alone, before `SQLite` makes it for everybody.
fn private_file(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(path).map(drop).map_err(|error| error.to_string())
}

fn connect(path: &Path, busy: Duration) -> Result<SqliteConnection, StoreError> {
    let fault = |reason: String| StoreError::Open { path: path.to_owned(), reason };
    let name = path.to_str().ok_or_else(|| fault("its name is not UTF-8".to_owned()))?;
    let mut connection = SqliteConnection::establish(name).map_err(|error| fault(error.to_string()))?;
    // FULL: in WAL mode NORMAL may lose what was acknowledged just before a power loss.
    let settings = format!(
        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA trusted_schema = OFF;",
        busy.as_millis()
    );
    pragma(&mut connection, path, &settings)?;
    Ok(connection)
}

fn pragma(connection: &mut SqliteConnection, path: &Path, text: &str) -> Result<(), StoreError> {
    let fault = |error: SqlError| StoreError::Open { path: path.to_owned(), reason: error.to_string() };
    connection.batch_execute(text).map_err(fault)
}

fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let fault = |reason: String| StoreError::Migrate { reason };
    refuse_newer(connection)?;
    let done = connection.run_pending_migrations(MIGRATIONS).map_err(|error| fault(error.to_string()))?;
    for version in &done {
        tracing::info!(migration = %version, "schema migrated");
    }
    refuse_newer(connection)
}

/// Refuses a schema that a newer program has changed beyond what this one can live with.
fn refuse_newer(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let needed: Result<Option<i32>, SqlError> =
        schema_info::table.select(schema_info::min_binary).first(connection).optional();
    match needed {
        Ok(Some(needed)) if needed > LEVEL => Err(StoreError::SchemaTooNew { needed, ours: LEVEL }),
        Ok(_) => Ok(()),
        // A database without that table is a new one.
        Err(error) if error.to_string().contains("no such table") => Ok(()),
        Err(error) => Err(StoreError::Migrate { reason: error.to_string() }),
    }
}
