//! Connections to a server: made, looked after, thrown away.

use super::adapter::PgConnection;
use super::address::Address;
use crate::connection::AnyConnection;
use crate::db::Slot;
use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;

/// A connection that was idle for longer is asked whether it still stands before it is used.
const TRUSTED: Duration = Duration::from_secs(2);
/// How long that answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What holds for every statement. A statement or a lock that takes longer is a fault of ours; a transaction whose replica
/// is gone must not hold up the others. Whole tables are not scanned where an index serves: under SERIALIZABLE whoever
/// has scanned a table conflicts with everybody who writes to it.
const SESSION: &str = "SET statement_timeout = '20s'; SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '60s'; SET enable_seqscan = off;";

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct Unreachable {
    pub(crate) reason: String,
    /// Whether waiting may help.
    pub(crate) passing: bool,
}

/// Makes connections for the pool.
pub(crate) struct Maker {
    pub(crate) address: Address,
    tls: MakeRustlsConnect,
}

impl Maker {
    pub(crate) fn new(address: Address) -> Result<Self, crate::StoreError> {
        let tls = address.tls()?;
        Ok(Self { address, tls })
    }

    /// A connection of its own, outside the pool.
    pub(crate) async fn connect(&self) -> Result<AsyncPgConnection, Unreachable> {
        let (client, driver) =
            self.address.config.connect(self.tls.clone()).await.map_err(|error| unreachable(&error))?;
        let passing = |reason: String| Unreachable { reason, passing: true };
        let made = AsyncPgConnection::try_from_client_and_connection(client, driver).await;
        made.map_err(|error| passing(error.to_string()))
    }
}

impl Manager for Maker {
    type Type = Slot;
    type Error = Unreachable;

    async fn create(&self) -> Result<Slot, Unreachable> {
        let mut connection = self.connect().await?;
        let done = connection.batch_execute(SESSION).await;
        done.map_err(|error| Unreachable { reason: error.to_string(), passing: true })?;
        Ok(Slot::new(AnyConnection::Postgres(PgConnection::new(connection))))
    }

    async fn recycle(&self, slot: &mut Slot, metrics: &Metrics) -> RecycleResult<Unreachable> {
        let AnyConnection::Postgres(connection) = &mut slot.connection else {
            return Err(RecycleError::message("it is a file"));
        };
        if !slot.clean {
            return Err(RecycleError::message("its transaction was cut off"));
        }
        if metrics.last_used() < TRUSTED {
            return Ok(());
        }
        match tokio::time::timeout(ANSWER, connection.inner().batch_execute("SELECT 1")).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(RecycleError::message("it does not answer")),
        }
    }
}

/// Names are refused for good; all else may pass: a server that starts, stops, is full or cannot be reached.
fn unreachable(error: &tokio_postgres::Error) -> Unreachable {
    let last = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
    let last = last.into_iter().chain([SqlState::INVALID_CATALOG_NAME, SqlState::INSUFFICIENT_PRIVILEGE]);
    let refused = error.code().is_some_and(|code| last.into_iter().any(|state| &state == code));
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !reason.contains(&inner_text) {
            reason = format!("{reason}: {inner_text}");
        }
        source = inner.source();
    }
    // A certificate that is not trusted today is not trusted in a minute.
    let untrusted = reason.contains("invalid peer certificate");
    if untrusted {
        reason.push_str("; name its authority by sslrootcert=FILE in the URL, or choose sslmode=disable");
    }
    Unreachable { reason, passing: !refused && !untrusted }
}
