//! diesel-async's blocking wrapper, with the one thing added that `MultiConnection` asks for.
//!
//! Everything but `MultiConnectionHelper` hands on to the wrapper. Only types that every PostgreSQL knows are bound here,
//! so that the look-up of others, which the helper is about, is never used.

use diesel::connection::{
    CacheSize, Instrumentation, LoadConnection, SimpleConnection, TransactionManager,
    TransactionManagerStatus,
};
use diesel::expression::QueryMetadata;
use diesel::internal::derives::multiconnection::{ConnectionSealed, MultiConnectionHelper};
use diesel::migration::MigrationConnection;
use diesel::pg::{Pg, PgMetadataLookup, PgTypeMetadata};
use diesel::prelude::*;
use diesel::query_builder::{Query, QueryFragment, QueryId};
use diesel::sql_types::TypeMetadata;
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use std::any::Any;

type Wrapper = AsyncConnectionWrapper<AsyncPgConnection>;
type WrapperManager = <Wrapper as Connection>::TransactionManager;
type State = <WrapperManager as TransactionManager<Wrapper>>::TransactionStateData;
type Lookup = <Pg as TypeMetadata>::MetadataLookup;

/// A connection to a PostgreSQL server, to be used on a thread that may block.
pub struct PgConnection(Wrapper);

impl PgConnection {
    /// Of an async connection; call it within the runtime that drives that one.
    pub(super) fn new(inner: AsyncPgConnection) -> Self {
        Self(Wrapper::from(inner))
    }

    /// The connection itself, for what is done without blocking.
    pub(super) fn inner(&mut self) -> &mut AsyncPgConnection {
        &mut self.0
    }
}

impl SimpleConnection for PgConnection {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.0.batch_execute(query)
    }
}

impl ConnectionSealed for PgConnection {}

impl Connection for PgConnection {
    type Backend = Pg;
    type TransactionManager = Manager;

    fn establish(url: &str) -> ConnectionResult<Self> {
        Wrapper::establish(url).map(Self)
    }

    fn execute_returning_count<T: QueryFragment<Pg> + QueryId>(&mut self, source: &T) -> QueryResult<usize> {
        self.0.execute_returning_count(source)
    }

    fn transaction_state(&mut self) -> &mut State {
        self.0.transaction_state()
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        self.0.instrumentation()
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.0.set_instrumentation(instrumentation);
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        self.0.set_prepared_statement_cache_size(size);
    }
}

/// The wrapper's own manager, over its own connection.
pub struct Manager;

impl TransactionManager<PgConnection> for Manager {
    type TransactionStateData = State;

    fn begin_transaction(connection: &mut PgConnection) -> QueryResult<()> {
        WrapperManager::begin_transaction(&mut connection.0)
    }

    fn rollback_transaction(connection: &mut PgConnection) -> QueryResult<()> {
        WrapperManager::rollback_transaction(&mut connection.0)
    }

    fn commit_transaction(connection: &mut PgConnection) -> QueryResult<()> {
        WrapperManager::commit_transaction(&mut connection.0)
    }

    fn transaction_manager_status_mut(connection: &mut PgConnection) -> &mut TransactionManagerStatus {
        WrapperManager::transaction_manager_status_mut(&mut connection.0)
    }
}

impl LoadConnection for PgConnection {
    type Cursor<'conn, 'query> = <Wrapper as LoadConnection>::Cursor<'conn, 'query>;
    type Row<'conn, 'query> = <Wrapper as LoadConnection>::Row<'conn, 'query>;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> QueryResult<Self::Cursor<'conn, 'query>>
    where
        T: Query + QueryFragment<Pg> + QueryId + 'query,
        Pg: QueryMetadata<T::SqlType>,
    {
        LoadConnection::load(&mut self.0, source)
    }
}

impl MigrationConnection for PgConnection {
    fn setup(&mut self) -> QueryResult<usize> {
        self.0.setup()
    }
}

/// Stands for the connection where a query's binds are collected: it would be asked for types that an extension brings.
struct NoLookup;

impl PgMetadataLookup for NoLookup {
    fn lookup_type(&mut self, _name: &str, _schema: Option<&str>) -> PgTypeMetadata {
        PgTypeMetadata::new(0, 0)
    }
}

impl MultiConnectionHelper for PgConnection {
    fn to_any<'a>(_: &mut Lookup) -> &mut (dyn Any + 'a) {
        // Of no size, and so nothing is allocated or leaked.
        Box::leak(Box::new(NoLookup))
    }

    fn from_any(lookup: &mut dyn Any) -> Option<&mut Lookup> {
        lookup.downcast_mut::<NoLookup>().map(|lookup| lookup as &mut Lookup)
    }
}
