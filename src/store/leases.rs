//! Leases: for a time, one holder and no other.
//!
//! A lease keeps two servers from doing the same thing, as long as both look at it. What must not be done late by a holder
//! that was paused beyond its time carries the lease's [`fence`](Lease::fence), which grows with each holder: whoever is
//! written to refuses a lower one than it has seen. Time is the database's: on a server by its clock, in a file by this
//! machine's.

use crate::claims::until;
use crate::codec::time;
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::dialect::clock;
use crate::schema::leases;
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::ToolName;
use jiff::Timestamp;
use std::time::Duration;

/// A lease that is held, or was when this was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What for, as in `tool/weather` or `leader/controller`.
    pub name: String,
    /// By whom: one name for each process, and another after its restart.
    pub holder: String,
    /// Higher than that of every holder before.
    pub fence: i64,
    /// When it runs out, by the database's clock. Not to be compared with another clock: renew it well before its time.
    pub until: Timestamp,
}

type Row = (Option<String>, i64, i64);

/// A row as it is read: holder, fence, end.
fn row(connection: &mut AnyConnection, name: &str) -> Outcome<Option<Row>> {
    let columns = (leases::holder, leases::fence, leases::held_until);
    Ok(leases::table.find(name).select(columns).first(connection).optional()?)
}

/// The lease that a server holds for as long as it lives.
pub(crate) fn life(holder: &str) -> String {
    format!("server/{holder}")
}

/// The lease of whoever changes what runs of a tool.
fn turn(tool: &str) -> String {
    format!("turn/{tool}")
}

/// Whether somebody holds a lease.
pub(crate) fn is_held(connection: &mut AnyConnection, name: &str, present: i64) -> Outcome<bool> {
    Ok(row(connection, name)?.is_some_and(|(holder, _, end)| holder.is_some() && end > present))
}

/// A conflict where another than this holder has the tool's turn: it was lost.
pub(crate) fn expect_turn(
    connection: &mut AnyConnection,
    tool: &ToolName,
    holder: Option<&str>,
) -> Outcome<()> {
    let Some(holder) = holder else { return Ok(()) };
    let present = clock(connection)?;
    match row(connection, &turn(tool.as_str()))? {
        Some((Some(other), _, end)) if other != holder && end > present => {
            let what = format!("another server changes {tool} now");
            Err(StoreError::Conflict { what }.into())
        }
        _ => Ok(()),
    }
}

impl Lease {
    /// What the lease of a server's life is called.
    pub fn of_life(holder: &str) -> String {
        life(holder)
    }

    /// What the lease of a tool's turn is called.
    pub fn of_turn(tool: &ToolName) -> String {
        turn(tool.as_str())
    }
}

/// Gives the lease to a holder under the next number, unless another one has it.
fn acquire(writer: &mut AnyConnection, name: &str, holder: &str, ttl: Duration) -> Outcome<Option<Lease>> {
    let found = row(writer, name)?;
    let present = clock(writer)?;
    let held_until = until(present, ttl);
    let (before, is_new) = match &found {
        Some((Some(other), _, end)) if other != holder && *end > present => return Ok(None),
        Some((_, fence, _)) => (*fence, false),
        None => (0, true),
    };
    let fence = before + 1;
    let change = (leases::holder.eq(holder), leases::fence.eq(fence), leases::held_until.eq(held_until));
    if is_new {
        diesel::insert_into(leases::table).values((leases::name.eq(name), change)).execute(writer)?;
    } else {
        diesel::update(leases::table.find(name)).set(change).execute(writer)?;
    }
    Ok(Some(Lease {
        name: name.to_owned(),
        holder: holder.to_owned(),
        fence,
        until: time("leases.held_until", held_until)?,
    }))
}

impl Store {
    /// Takes a lease for `ttl`. `None` where another holder has it and its time has not run out. A holder that asks again gets
    /// it again, under a new number, so that an answer that was lost does not lock it out; within a process a lease keeps
    /// nobody apart.
    pub async fn acquire_lease(
        &self,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        let work = move |writer: &mut AnyConnection| acquire(writer, &name, &holder, ttl);
        self.db.write("take a lease", work).await
    }

    /// Makes a lease good for `ttl` from now, under the number it has. `None` where somebody has taken it meanwhile: it is lost.
    /// One that has run out and that nobody took is kept.
    pub async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let lease = lease.clone();
        let work = move |writer: &mut AnyConnection| {
            let held_until = until(clock(writer)?, ttl);
            let mine = leases::holder.eq(&lease.holder).and(leases::fence.eq(lease.fence));
            let mine = leases::table.find(&lease.name).filter(mine);
            if diesel::update(mine).set(leases::held_until.eq(held_until)).execute(writer)? == 0 {
                return Ok(None);
            }
            Ok(Some(Lease { until: time("leases.held_until", held_until)?, ..lease.clone() }))
        };
        self.db.write("renew a lease", work).await
    }

    /// Lets a lease go before its time. `false` where it was another's already. Its number is not given again.
    pub async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let lease = lease.clone();
        let work = move |writer: &mut AnyConnection| {
            let mine = leases::holder.eq(&lease.holder).and(leases::fence.eq(lease.fence));
            let mine = leases::table.find(&lease.name).filter(mine);
            let change = (leases::holder.eq(None::<String>), leases::held_until.eq(0));
            Ok(diesel::update(mine).set(change).execute(writer)? > 0)
        };
        self.db.write("let a lease go", work).await
    }

    /// Who has a lease now.
    pub async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        let name = name.to_owned();
        let work = move |reader: &mut AnyConnection| {
            let found = row(reader, &name)?;
            let present = clock(reader)?;
            let Some((Some(holder), fence, end)) = found.filter(|(_, _, end)| *end > present) else {
                return Ok(None);
            };
            let until = time("leases.held_until", end)?;
            Ok(Some(Lease { name: name.clone(), holder, fence, until }))
        };
        self.db.read("look at a lease", work).await
    }
}
