//! The server: a bounded pool of connections, and transactions that are run again where that is safe.
//!
//! A write is SERIALIZABLE, a read one READ ONLY state. What a server refuses because of others is run again after a random
//! pause; a server that is away is waited for. A write is run again only where its COMMIT was surely not sent; where the
//! answer to COMMIT was lost, that is an error of its own. Names and passwords stay in `Address`.

mod adapter;
mod address;
mod listen;
mod pool;
mod retry;

pub(crate) use adapter::PgConnection;
pub(crate) use address::Address;

use crate::connection::AnyConnection;
use crate::db::{Ended, Outcome, Slot, blocking};
use crate::{Changes, StoreError, StoreOptions, migrate};
use deadpool::Runtime;
use deadpool::managed::{Object, Pool, PoolError};
use pool::{Maker, Unreachable};
use retry::{Attempts, Verdict, verdict};
use std::time::Duration;

const WRITE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
/// How long a new connection may take in all.
const CREATE: Duration = Duration::from_secs(10);

/// The connections to one database of a server.
pub(crate) struct Connections {
    pool: Pool<Maker>,
    patience: Duration,
    pub(crate) place: String,
    listener: listen::Listener,
}

impl Connections {
    pub(crate) async fn open(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let (opened, slot) = Self::connect(url, options).await?;
        let patience = options.patience.max(Duration::from_secs(30));
        // Its settings are not for others: it is taken out of the pool and closed.
        let mut slot = Object::take(slot);
        blocking("migrate", move || migrate::server(&mut slot.connection, patience)).await??;
        Ok(opened)
    }

    /// The server's major version, where this program can live with what is in the database. Nothing is changed.
    pub(crate) async fn look(url: &str, options: &StoreOptions) -> Result<i64, StoreError> {
        let (_opened, mut slot) = Self::connect(url, options).await?;
        blocking("look at the database", move || migrate::look(&mut slot.connection)).await?
    }

    async fn connect(url: &str, options: &StoreOptions) -> Result<(Self, Object<Maker>), StoreError> {
        let address = Address::read(url)?;
        let place = address.place.clone();
        let fault = |reason: String| StoreError::Open { place: place.clone(), reason };
        let listener = listen::Listener::start(Maker::new(Address::read(url)?)?);
        let pool = Pool::builder(Maker::new(address)?)
            .max_size(options.connections.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(options.patience.max(CREATE)))
            .create_timeout(Some(CREATE))
            .recycle_timeout(Some(CREATE))
            .build()
            .map_err(|error| fault(error.to_string()))?;
        let opened = Self { pool, patience: options.patience, place: place.clone(), listener };
        let mut attempts = Attempts::new("open the database", &place, options.patience);
        let slot = opened.slot("open the database", &mut attempts).await?;
        Ok((opened, slot))
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnMut(&mut AnyConnection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(operation, WRITE, work).await
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnMut(&mut AnyConnection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(operation, READ, work).await
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        begin: &'static str,
        mut work: impl FnMut(&mut AnyConnection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut attempts = Attempts::new(operation, &self.place, self.patience);
        loop {
            let mut slot = self.slot(operation, &mut attempts).await?;
            let (back, clean, answer) = blocking(operation, move || {
                let answer = slot.run(begin, &mut work);
                (work, slot.clean, answer)
            })
            .await?;
            work = back;
            let ended = match answer {
                Ok(value) => return Ok(value),
                // What only reads has changed nothing, whatever became of its end.
                Err(Ended::AtCommit(error)) if begin == READ => Ended::Before(error.into()),
                Err(ended) => ended,
            };
            let verdict =
                verdict(ended, begin == WRITE, clean).map_err(|failure| failure.named(operation))?;
            tracing::debug!(operation, ?verdict, "a transaction is looked at again");
            if !matches!(verdict, Verdict::Lost(_)) {
                attempts.back();
            }
            tokio::time::sleep(attempts.next(verdict)?).await;
        }
    }

    /// A free connection. A server that is away is waited for.
    async fn slot(
        &self,
        operation: &'static str,
        attempts: &mut Attempts,
    ) -> Result<Object<Maker>, StoreError> {
        loop {
            let gone = match self.pool.get().await {
                Ok(slot) => return Ok(slot),
                Err(PoolError::Backend(Unreachable { reason, passing: true })) => reason,
                Err(PoolError::Backend(Unreachable { reason, .. })) => {
                    return Err(StoreError::Open { place: self.place.clone(), reason });
                }
                Err(PoolError::Timeout(deadpool::managed::TimeoutType::Wait)) => {
                    let reason = "no connection came free; raise connections in [store]".to_owned();
                    return Err(StoreError::Query { operation, reason });
                }
                Err(PoolError::Timeout(_)) => "it does not answer".to_owned(),
                Err(_) => "the pool of connections is closed".to_owned(),
            };
            tokio::time::sleep(attempts.away(&gone)?).await;
        }
    }

    /// A connection for a transaction that the caller runs by itself, once.
    pub(crate) async fn lend(&self, operation: &'static str) -> Result<Slot, StoreError> {
        let mut attempts = Attempts::new(operation, &self.place, self.patience);
        Ok(Object::take(self.slot(operation, &mut attempts).await?))
    }

    pub(crate) fn changes(&self) -> Changes {
        self.listener.changes()
    }

    pub(crate) fn log_changes(&self) -> Changes {
        self.listener.log_changes()
    }
}
