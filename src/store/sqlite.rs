//! The file: one writer, several readers, each used on a thread that may block.

use crate::connection::AnyConnection;
use crate::db::{Ended, Failure, Outcome, Slot, blocking};
use crate::{Changes, StoreError, StoreOptions, migrate};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error as SqlError;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// The connections to one file.
pub(crate) struct Connections {
    writer: Arc<tokio::sync::Mutex<Slot>>,
    readers: Arc<Mutex<Vec<Slot>>>,
    free: Arc<Semaphore>,
    changed: watch::Sender<u64>,
    pub(crate) path: PathBuf,
}

impl Connections {
    pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        private_file(path).map_err(|reason| fault(path, reason))?;
        let mut writer = connect(path, options.busy)?;
        migrate::file(&mut writer)?;
        let count = options.readers.max(1);
        let mut readers = Vec::with_capacity(count);
        for _ in 0..count {
            let mut reader = connect(path, options.busy)?;
            pragma(&mut reader, path, "PRAGMA query_only = ON;")?;
            readers.push(Slot::new(reader));
        }
        Ok(Self {
            writer: Arc::new(tokio::sync::Mutex::new(Slot::new(writer))),
            readers: Arc::new(Mutex::new(readers)),
            free: Arc::new(Semaphore::new(count)),
            changed: watch::Sender::new(0),
            path: path.to_owned(),
        })
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        mut work: impl FnMut(&mut AnyConnection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let answer = blocking(operation, move || writer.run("BEGIN IMMEDIATE", &mut work)).await?;
        self.changed.send_modify(|count| *count += 1);
        answer.map_err(|ended| failure(ended).named(operation))
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        mut work: impl FnMut(&mut AnyConnection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reader(operation, move |reader| reader.run("BEGIN", &mut work).map_err(failure)).await
    }

    /// Runs work on a reader, outside any transaction.
    pub(crate) async fn reader<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Slot) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = |_| StoreError::Query { operation, reason: "the database is closed".to_owned() };
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(closed)?;
        let readers = Arc::clone(&self.readers);
        let answer = blocking(operation, move || {
            let _permit = permit;
            let taken = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut reader) = taken else {
                let reason = "no reader is left".to_owned();
                return Err(Failure::Refused(StoreError::Query { operation, reason }));
            };
            let answer = work(&mut reader);
            readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            answer
        });
        answer.await?.map_err(|failure| failure.named(operation))
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes::new(self.changed.subscribe())
    }
}

fn failure(ended: Ended) -> Failure {
    match ended {
        Ended::Before(failure) => failure,
        Ended::AtCommit(error) => Failure::Sql(error),
    }
}

fn fault(path: &Path, reason: String) -> StoreError {
    StoreError::Open { place: path.display().to_string(), reason }
}

/// Makes the file readable by its owner alone, before `SQLite` makes it for everybody.
fn private_file(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(path).map(drop).map_err(|error| error.to_string())
}

fn connect(path: &Path, busy: Duration) -> Result<AnyConnection, StoreError> {
    let name = path.to_str().ok_or_else(|| fault(path, "its name is not UTF-8".to_owned()))?;
    let connection = SqliteConnection::establish(name).map_err(|error| fault(path, error.to_string()))?;
    let mut connection = AnyConnection::Sqlite(connection);
    // FULL: in WAL mode NORMAL may lose what was acknowledged just before a power loss.
    let settings = format!(
        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA trusted_schema = OFF;",
        busy.as_millis()
    );
    pragma(&mut connection, path, &settings)?;
    Ok(connection)
}

fn pragma(connection: &mut AnyConnection, path: &Path, text: &str) -> Result<(), StoreError> {
    connection.batch_execute(text).map_err(|error: SqlError| fault(path, error.to_string()))
}
