//! The schema, brought up to this program's.
//!
//! Both databases have migrations of the same numbers. They expand first and contract a version later, so that replicas of
//! two versions may run side by side; a program refuses a schema whose `min_binary` is above its own [`LEVEL`].

use crate::StoreError;
use crate::connection::AnyConnection;
use crate::dialect::{Number, has_table};
use crate::schema::schema_info;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error as SqlError;
use diesel::sql_types::BigInt;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::time::{Duration, Instant};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The schema level of this program: raised with a migration that older programs cannot live with.
pub(crate) const LEVEL: i32 = 1;

/// Key of the lock that one replica holds while it migrates.
const LOCK: i64 = 0x68_79_74_68_65_00_00;
/// Time between two looks at that lock, and between two attempts at a migration that was in others' way.
const PAUSE: Duration = Duration::from_millis(100);

/// Migrates a file. Its one writer is the lock.
pub(crate) fn file(connection: &mut AnyConnection) -> Result<(), StoreError> {
    run(connection, SQLITE).map_err(|error| named(&error))
}

/// Migrates a server's database, one replica at a time, while others go on reading and writing. The connection is not to
/// be used for anything else afterwards. Waits at most `patience` for another replica, and as long for locks of others.
pub(crate) fn server(connection: &mut AnyConnection, patience: Duration) -> Result<(), StoreError> {
    // A migration that waits for a table holds up everybody who comes after it: it rather gives up and tries again.
    let settings =
        "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '1s';";
    connection.batch_execute(settings).map_err(|error| fault(&error))?;
    let deadline = Instant::now() + patience;
    while !asked(connection, "SELECT pg_try_advisory_lock($1)::int::bigint AS value")? {
        if Instant::now() > deadline {
            let reason =
                "another hythed is bringing it up to date and does not finish; look at its log".to_owned();
            return Err(StoreError::Migrate { reason });
        }
        std::thread::sleep(PAUSE);
    }
    let done = loop {
        match run(connection, POSTGRES) {
            Err(Stopped::Sql(reason)) if reason.contains("lock timeout") && Instant::now() < deadline => {
                tracing::info!(%reason, "a migration waits for others and tries again");
                std::thread::sleep(PAUSE);
            }
            done => break done,
        }
    };
    asked(connection, "SELECT pg_advisory_unlock($1)::int::bigint AS value")?;
    done.map_err(|error| named(&error))
}

/// The server's major version, where this program can live with the schema. Nothing is changed.
pub(crate) fn look(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    refuse_newer(connection).map_err(|error| named(&error))?;
    let query = "SELECT current_setting('server_version_num')::bigint AS value";
    let number = diesel::sql_query(query).get_result::<Number>(connection);
    Ok(number.map_err(|error| fault(&error))?.value / 10_000)
}

/// What stopped the migrations.
enum Stopped {
    TooNew(i32),
    Sql(String),
}

fn named(stopped: &Stopped) -> StoreError {
    match stopped {
        Stopped::TooNew(needed) => StoreError::SchemaTooNew { needed: *needed, ours: LEVEL },
        Stopped::Sql(reason) => StoreError::Migrate { reason: reason.clone() },
    }
}

fn fault(error: &SqlError) -> StoreError {
    StoreError::Migrate { reason: error.to_string() }
}

fn asked(connection: &mut AnyConnection, query: &str) -> Result<bool, StoreError> {
    let query = diesel::sql_query(query).bind::<BigInt, _>(LOCK);
    Ok(query.get_result::<Number>(connection).map_err(|error| fault(&error))?.value == 1)
}

fn run(connection: &mut AnyConnection, migrations: EmbeddedMigrations) -> Result<(), Stopped> {
    refuse_newer(connection)?;
    let done = connection.run_pending_migrations(migrations);
    for version in done.map_err(|error| Stopped::Sql(error.to_string()))? {
        tracing::info!(migration = %version, "schema migrated");
    }
    refuse_newer(connection)
}

/// Refuses a schema that a newer program has changed beyond what this one can live with.
fn refuse_newer(connection: &mut AnyConnection) -> Result<(), Stopped> {
    let failed = |error: SqlError| Stopped::Sql(error.to_string());
    // A database without that table is a new one.
    if !has_table(connection, "schema_info").map_err(failed)? {
        return Ok(());
    }
    let needed = schema_info::table.select(schema_info::min_binary).first::<i32>(connection);
    match needed.optional().map_err(failed)? {
        Some(needed) if needed > LEVEL => Err(Stopped::TooNew(needed)),
        _ => Ok(()),
    }
}
