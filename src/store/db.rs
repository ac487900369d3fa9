//! What runs on a connection: one transaction, and how it ended. `sqlite.rs` and `postgres.rs` bring the connections.
//!
//! A write is serializable on both databases: a file has one writer, a server refuses what could not have happened one
//! after the other, and the work is then run again. So the work of a transaction may run more than once, and changes
//! nothing but rows. It hands on every failure of the database: after one a server answers nothing but failures.

use crate::connection::AnyConnection;
use crate::{Changes, StoreError};
use diesel::connection::SimpleConnection;
use diesel::result::{DatabaseErrorKind, Error as SqlError};
use std::time::Duration;

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

    pub(crate) fn named(self, operation: &'static str) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Sql(error) => StoreError::Query { operation, reason: error.to_string() },
        }
    }
}

/// How the database is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Readers beside the one writer of a file.
    pub readers: usize,
    /// How long a statement waits for another process's lock on a file.
    pub busy: Duration,
    /// Connections to a server, at most.
    pub connections: usize,
    /// How long a server that is away is waited for.
    pub patience: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        let (busy, patience) = (Duration::from_secs(5), Duration::from_secs(30));
        Self { readers: 4, busy, connections: 10, patience }
    }
}

/// How a transaction ended that did not succeed.
pub(crate) enum Ended {
    /// Before COMMIT was sent: nothing has changed.
    Before(Failure),
    /// COMMIT itself was answered by a failure, or not at all.
    AtCommit(SqlError),
}

/// A connection between two transactions.
pub(crate) struct Slot {
    pub(crate) connection: AnyConnection,
    /// Whether the last transaction was ended. One that a panic or a lost connection cut off was not.
    pub(crate) clean: bool,
}

impl Slot {
    pub(crate) fn new(connection: AnyConnection) -> Self {
        Self { connection, clean: true }
    }

    /// Runs work in one transaction, begun by this statement.
    pub(crate) fn run<T>(
        &mut self,
        begin: &str,
        work: &mut impl FnMut(&mut AnyConnection) -> Outcome<T>,
    ) -> Result<T, Ended> {
        let connection = &mut self.connection;
        if !std::mem::replace(&mut self.clean, false) {
            let _ = connection.batch_execute("ROLLBACK");
        }
        connection.batch_execute(begin).map_err(|error| Ended::Before(error.into()))?;
        let done = match work(connection) {
            Ok(value) => connection.batch_execute("COMMIT").map(|()| value).map_err(Ended::AtCommit),
            Err(failure) => Err(Ended::Before(failure)),
        };
        // A server that only reads has handed its place on to another one: this is no connection to write by any more.
        let handed_on = matches!(
            &done,
            Err(Ended::Before(Failure::Sql(SqlError::DatabaseError(
                DatabaseErrorKind::ReadOnlyTransaction,
                _
            ))))
        );
        self.clean = done.is_ok() || (connection.batch_execute("ROLLBACK").is_ok() && !handed_on);
        done
    }
}

/// The open database.
pub(crate) enum Db {
    File(crate::sqlite::Connections),
    Server(crate::postgres::Connections),
}

impl Db {
    /// Runs work in one write transaction, more than once where it must; what it answers is on the disk.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnMut(&mut AnyConnection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::File(file) => file.write(operation, work).await,
            // Boxed: its future is large, and would be a part of every caller's.
            Self::Server(server) => Box::pin(server.write(operation, work)).await,
        }
    }

    /// Runs work that reads one consistent state, more than once where it must.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnMut(&mut AnyConnection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::File(file) => file.read(operation, work).await,
            Self::Server(server) => Box::pin(server.read(operation, work)).await,
        }
    }

    /// Tells of changes from now on.
    pub(crate) fn changes(&self) -> Changes {
        match self {
            Self::File(file) => file.changes(),
            Self::Server(server) => server.changes(),
        }
    }

    /// Tells of logs from now on. A file tells of every write anyway.
    pub(crate) fn log_changes(&self) -> Changes {
        match self {
            Self::File(file) => file.changes(),
            Self::Server(server) => server.log_changes(),
        }
    }
}

/// Runs what may block beside the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Query { operation, reason: error.to_string() })
}
