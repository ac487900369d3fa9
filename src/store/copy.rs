//! A whole installation's rows, from a file into an empty database of a server.
//!
//! One transaction, table by table, a bounded number of rows at a time. Before it ends, every table is read back and compared:
//! the number of its rows, and a digest over every value of every row. Either all of it is there then, or nothing.

use crate::connection::AnyConnection;
use crate::db::{Db, Ended, Failure, Outcome, Slot};
use crate::dialect::Number;
use crate::schema::{
    builds, config_values, config_versions, leases, maintainers, members, releases, repositories, ssh_keys,
    tokens, tools,
};
use crate::{Store, StoreError};
use diesel::connection::{DefaultLoadingMode, SimpleConnection};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Rows that are held in memory and sent at a time.
const BATCH: usize = 500;
/// Tables whose rows are numbered by the database.
const NUMBERED: [&str; 3] = ["tools", "tokens", "builds"];
const WRITE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";
/// It may take longer than others' transactions, and is alone: others would write to what counts as empty.
const ALONE: &str = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
    LOCK TABLE maintainers, tools, members, ssh_keys, tokens, builds, releases, config_versions, config_values, leases, repositories \
    IN EXCLUSIVE MODE;";

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Tools among the rows.
    pub tools: u64,
    /// Rows of all tables.
    pub rows: u64,
}

/// Number and digest of a table's rows.
#[derive(Debug, PartialEq, Eq)]
struct Sum {
    rows: u64,
    digest: [u8; 32],
}

/// A table that can be copied.
trait Table: Serialize + Sized {
    const NAME: &str;
    /// Reads all rows in the order of their keys, batch by batch.
    fn each(from: &mut AnyConnection, take: &mut dyn FnMut(Vec<Self>) -> Outcome<()>) -> Outcome<()>;
    /// Writes some.
    fn put(to: &mut AnyConnection, rows: &[Self]) -> Outcome<()>;
}

macro_rules! table {
    ($row:ident in $table:ident by $key:expr; $($column:ident: $type:ty),+ $(,)?) => {
        #[derive(Queryable, Selectable, Insertable, Serialize)]
        #[diesel(table_name = $table)]
        struct $row { $($column: $type),+ }

        impl Table for $row {
            const NAME: &str = stringify!($table);

            fn each(from: &mut AnyConnection, take: &mut dyn FnMut(Vec<Self>) -> Outcome<()>) -> Outcome<()> {
                let query = $table::table.order($key).select(Self::as_select());
                let mut batch = Vec::new();
                for row in query.load_iter::<Self, DefaultLoadingMode>(from)? {
                    batch.push(row?);
                    if batch.len() == BATCH {
                        take(std::mem::take(&mut batch))?;
                    }
                }
                take(batch)
            }

            fn put(to: &mut AnyConnection, rows: &[Self]) -> Outcome<()> {
                let AnyConnection::Postgres(server) = to else { return Err(wrong_way()) };
                diesel::insert_into($table::table).values(rows).execute(server)?;
                Ok(())
            }
        }
    };
}

table!(MaintainerRow in maintainers by maintainers::name; name: String, admin: bool, created_at: i64);
table!(ToolRow in tools by tools::id;
    id: i64, name: String, settings: String, next_release: i64, next_config: i64, deployed_ref: Option<String>,
    deployed_commit: Option<String>, last_turn_at: i64, created_at: i64);
table!(MemberRow in members by (members::tool_id, members::maintainer);
    tool_id: i64, maintainer: String, role: String);
table!(KeyRow in ssh_keys by ssh_keys::fingerprint;
    fingerprint: String, maintainer: Option<String>, tool_id: Option<i64>, algorithm: String, openssh: String,
    title: String, created_at: i64, last_used_at: Option<i64>);
table!(TokenRow in tokens by tokens::id;
    id: i64, maintainer: String, name: String, hash: Vec<u8>, created_at: i64, expires_at: Option<i64>,
    last_used_at: Option<i64>);
table!(BuildRow in builds by builds::id;
    id: i64, tool_id: i64, state: String, source: String, reference: String, old_commit: Option<String>,
    options: String, cause: String, actor: String, image: Option<String>, release_number: Option<i64>,
    fault: Option<String>, superseded_by: Option<i64>, created_at: i64, started_at: Option<i64>,
    ended_at: Option<i64>, claimed_by: Option<String>, claimed_until: Option<i64>);
table!(ReleaseRow in releases by (releases::tool_id, releases::number);
    tool_id: i64, number: i64, image: String, commit_id: String, processes: String, config: i64, formation: String,
    cause: String, message: Option<String>, actor: String, state: String, fault: Option<String>,
    build_id: Option<i64>, created_at: i64, settings: Option<String>, project: Option<String>);
table!(VersionRow in config_versions by (config_versions::tool_id, config_versions::number);
    tool_id: i64, number: i64, actor: String, created_at: i64);
table!(ValueRow in config_values by (config_values::tool_id, config_values::version, config_values::key);
    tool_id: i64, version: i64, key: String, sealed: Vec<u8>, scope: String);
table!(RepositoryRow in repositories by repositories::tool_id; tool_id: i64, version: i64, head: String);
table!(LeaseRow in leases by leases::name; name: String, holder: Option<String>, fence: i64, held_until: i64);

fn wrong_way() -> Failure {
    refused("from an SQLite file into a PostgreSQL database is the only way".to_owned())
}

fn refused(reason: String) -> Failure {
    StoreError::Copy { reason }.into()
}

/// Reads a table, hands its rows on, and sums it up.
fn summed<T: Table>(from: &mut AnyConnection, mut take: impl FnMut(&[T]) -> Outcome<()>) -> Outcome<Sum> {
    let (mut rows, mut digest) = (0, Sha256::new());
    T::each(from, &mut |batch| {
        for row in &batch {
            let text = serde_json::to_vec(row).map_err(|error| refused(error.to_string()))?;
            digest.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(&text);
            rows += 1;
        }
        if batch.is_empty() { Ok(()) } else { take(&batch) }
    })?;
    Ok(Sum { rows, digest: digest.finalize().into() })
}

/// Copies a table and compares what has arrived; answers the number of its rows.
fn copy<T: Table>(from: &mut AnyConnection, to: &mut AnyConnection) -> Outcome<u64> {
    let there = summed::<T>(to, |_| Ok(()))?;
    // Copied before, by somebody who did not hear of it.
    if there.rows > 0 && there == summed::<T>(from, |_| Ok(()))? {
        return Ok(there.rows);
    }
    if there.rows > 0 {
        let what = format!("the target holds rows already ({} in {})", there.rows, T::NAME);
        return Err(refused(format!("{what}; name an empty database")));
    }
    let sent = summed::<T>(from, |rows| T::put(to, rows))?;
    let arrived = summed::<T>(to, |_| Ok(()))?;
    if sent != arrived {
        let what = format!("{} rows of {} were sent, and what arrived differs", sent.rows, T::NAME);
        return Err(refused(format!("{what} ({} rows); nothing was kept", arrived.rows)));
    }
    Ok(sent.rows)
}

/// Lets new rows go on numbering where the file's would have: above what was ever there.
fn go_on_numbering(from: &mut AnyConnection, to: &mut AnyConnection) -> Outcome<()> {
    for table in NUMBERED {
        let last = "SELECT coalesce(max(seq), 0) AS value FROM sqlite_sequence WHERE name = ?";
        let last = diesel::sql_query(last).bind::<Text, _>(table).get_result::<Number>(from)?.value;
        let set = "SELECT setval(pg_get_serial_sequence($1, 'id'), greatest($2, 1), $2 > 0) AS value";
        let set = diesel::sql_query(set).bind::<Text, _>(table).bind::<BigInt, _>(last);
        set.get_result::<Number>(to)?;
    }
    Ok(())
}

fn all(from: &mut AnyConnection, to: &mut AnyConnection) -> Outcome<Copied> {
    to.batch_execute(ALONE)?;
    let mut rows = copy::<MaintainerRow>(from, to)?;
    let tools = copy::<ToolRow>(from, to)?;
    rows += tools + copy::<MemberRow>(from, to)? + copy::<KeyRow>(from, to)? + copy::<TokenRow>(from, to)?;
    rows += copy::<BuildRow>(from, to)? + copy::<ReleaseRow>(from, to)?;
    rows += copy::<VersionRow>(from, to)? + copy::<ValueRow>(from, to)? + copy::<LeaseRow>(from, to)?;
    // Of one server alone: which tools are being removed.
    rows += copy::<RepositoryRow>(from, to)?;
    go_on_numbering(from, to)?;
    Ok(Copied { tools, rows })
}

/// What an end of the target's transaction means.
fn told(ended: Ended) -> Failure {
    match ended {
        Ended::Before(Failure::Refused(error)) => error.into(),
        Ended::Before(Failure::Sql(error)) => refused(format!("{error}; nothing was kept")),
        Ended::AtCommit(error) => {
            StoreError::Unclear { operation: "copy the rows", reason: error.to_string() }.into()
        }
    }
}

impl Store {
    /// Copies every row of this store, which is a file, into a store of a server that holds none, or these very rows already.
    ///
    /// # Errors
    /// [`StoreError::Copy`] where the target holds other rows, or what arrived is not what was sent; nothing is kept there then.
    pub async fn copy_to(&self, target: &Self) -> Result<Copied, StoreError> {
        let (Db::File(file), Db::Server(server)) = (&*self.db, &*target.db) else {
            return Err(wrong_way().named("copy the rows"));
        };
        let mut to = server.lend("copy the rows").await?;
        let work = move |from: &mut Slot| {
            let mut copy = |from: &mut AnyConnection| to.run(WRITE, &mut |to| all(from, to)).map_err(told);
            from.run("BEGIN", &mut copy).map_err(told)
        };
        file.reader("copy the rows", work).await
    }
}
