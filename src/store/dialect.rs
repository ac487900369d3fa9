//! Where the two databases differ, and nowhere else.

use crate::codec::now;
use crate::connection::AnyConnection;
use crate::db::Outcome;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

/// Key of the lock under which builds get their numbers.
const NUMBERS: i64 = 0x68_79_74_68_65_00_01;

#[derive(QueryableByName)]
pub(crate) struct Number {
    #[diesel(sql_type = BigInt)]
    pub(crate) value: i64,
}

/// The present by the clock that all replicas share: the server's own, or this machine's where the database is a file.
/// Microseconds since 1970.
pub(crate) fn clock(connection: &mut AnyConnection) -> Outcome<i64> {
    let AnyConnection::Postgres(server) = connection else { return Ok(now()) };
    let query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS value";
    Ok(diesel::sql_query(query).get_result::<Number>(server)?.value)
}

/// Lets the numbers that this transaction takes be in the order in which transactions end, so that whoever has seen one
/// has seen those before it. A file has one writer anyway.
pub(crate) fn number_in_order(connection: &mut AnyConnection) -> Outcome<()> {
    if let AnyConnection::Postgres(server) = connection {
        let query = diesel::sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(NUMBERS);
        query.execute(server)?;
    }
    Ok(())
}

/// Waits until this transaction is the only one that writes lines of tools' logs: two would meet in the rows of busy tools, and
/// be refused again and again. Call it first: what the transaction sees is what is there once it has its turn. A file has one
/// writer anyway.
pub(crate) fn only_log_writer(connection: &mut AnyConnection) -> Outcome<()> {
    if let AnyConnection::Postgres(server) = connection {
        server.batch_execute("LOCK TABLE log_writers IN EXCLUSIVE MODE")?;
    }
    Ok(())
}

/// A query written with `?` for each bind, as this database has it.
pub(crate) fn placeholders(connection: &AnyConnection, query: &str) -> String {
    if matches!(connection, AnyConnection::Sqlite(_)) {
        return query.to_owned();
    }
    let mut parts = query.split('?');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.enumerate().fold(first, |text, (index, part)| format!("{text}${}{part}", index + 1))
}

/// Whether there is a table of this name.
pub(crate) fn has_table(connection: &mut AnyConnection, name: &str) -> QueryResult<bool> {
    let query = match connection {
        AnyConnection::Sqlite(_) => {
            "SELECT count(*) AS value FROM sqlite_master WHERE type = 'table' AND name = ?"
        }
        AnyConnection::Postgres(_) => {
            "SELECT count(*) AS value FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = $1"
        }
    };
    let query = diesel::sql_query(query).bind::<diesel::sql_types::Text, _>(name);
    Ok(query.get_result::<Number>(connection)?.value > 0)
}
