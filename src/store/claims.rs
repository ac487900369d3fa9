//! Who runs a build, and until when nobody else may.
//!
//! A claim is a build's lease: taken with its turn, renewed while it runs, gone with its end. One that has run out shows that
//! its holder died or lost the database, and lets another one resume the build. Time is the database's.

use crate::builds::{Row, UNFINISHED};
use crate::codec::json;
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::dialect::clock;
use crate::leases::{is_held, life};
use crate::schema::{builds, tools};
use crate::{Build, BuildState, Store, StoreError};
use diesel::prelude::*;
use hythe_model::{BuildId, Fault};
use std::collections::BTreeSet;
use std::time::Duration;

/// The columns of a claim, as they are written.
type Claim = (
    diesel::dsl::Eq<builds::claimed_by, Option<String>>,
    diesel::dsl::Eq<builds::claimed_until, Option<i64>>,
);

pub(crate) fn claimed(holder: &str, present: i64, ttl: Duration) -> Claim {
    let until = Some(until(present, ttl));
    (builds::claimed_by.eq(Some(holder.to_owned())), builds::claimed_until.eq(until))
}

pub(crate) fn unclaimed() -> Claim {
    (builds::claimed_by.eq(None), builds::claimed_until.eq(None))
}

/// The end of a time that begins now, in microseconds.
pub(crate) fn until(present: i64, ttl: Duration) -> i64 {
    present.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}

/// Whether a build that has not ended is another's than this holder's, who is not to write about it then: another one runs it, or
/// it waits again for whoever takes it. Nobody's word counts less than a claim's: one that has run out and that nobody took is
/// its holder's still.
pub(crate) fn is_anothers(
    connection: &mut AnyConnection,
    id: BuildId,
    holder: Option<&str>,
) -> Outcome<bool> {
    let Some(holder) = holder else { return Ok(false) };
    let open = builds::table.find(id.0).filter(builds::state.eq_any(UNFINISHED));
    let claimed = open.select(builds::claimed_by).first::<Option<String>>(connection).optional()?;
    Ok(claimed.is_some_and(|by| by.as_deref() != Some(holder)))
}

/// A conflict where a build is another's.
pub(crate) fn expect_own(connection: &mut AnyConnection, id: BuildId, holder: Option<&str>) -> Outcome<()> {
    if is_anothers(connection, id, holder)? {
        let what = format!("build {id} is another server's to run now");
        return Err(StoreError::Conflict { what }.into());
    }
    Ok(())
}

impl Store {
    /// Makes the claims of `holder` on these builds good for `ttl` from now, and says which they are. One that is not among them
    /// has ended, or is another's now: `holder` is to let go of it. A claim that its holder has forgotten runs out.
    pub async fn renew_claims(
        &self,
        holder: &str,
        builds: Vec<BuildId>,
        ttl: Duration,
    ) -> Result<BTreeSet<BuildId>, StoreError> {
        let holder = holder.to_owned();
        let wanted: Vec<i64> = builds.into_iter().map(|build| build.0).collect();
        let work = move |writer: &mut AnyConnection| {
            let present = clock(writer)?;
            let running = builds::state.eq(BuildState::Running.word());
            let mine = builds::table.filter(builds::id.eq_any(&wanted)).filter(running);
            let mine = mine.filter(builds::claimed_by.eq(&holder));
            let ids = mine.select(builds::id).load::<i64>(writer)?;
            let rows = builds::table.filter(builds::id.eq_any(&ids));
            let change = builds::claimed_until.eq(until(present, ttl));
            diesel::update(rows).set(change).execute(writer)?;
            Ok(ids.into_iter().map(BuildId).collect())
        };
        self.db.write("renew claims of builds", work).await
    }

    /// The running builds that nobody claims any more, oldest first. [`Store::take_claim`] comes next.
    pub async fn expired_claims(&self) -> Result<Vec<Build>, StoreError> {
        let work = |reader: &mut AnyConnection| {
            let present = clock(reader)?;
            let running = builds::state.eq(BuildState::Running.word());
            let free = builds::claimed_until.is_null().or(builds::claimed_until.lt(present));
            let open = builds::table.inner_join(tools::table).filter(running).filter(free);
            let query = open.order(builds::id).select((Row::as_select(), tools::name));
            let rows = query.load::<(Row, String)>(reader)?;
            Ok(rows.into_iter().map(|(row, tool)| row.read(&tool)).collect::<Result<_, _>>()?)
        };
        self.db.read("list expired claims", work).await
    }

    /// Claims a running build that nobody claims any more, for `ttl`. `false` where it has ended, or another has it.
    pub async fn take_claim(&self, id: BuildId, holder: &str, ttl: Duration) -> Result<bool, StoreError> {
        let holder = holder.to_owned();
        let work = move |writer: &mut AnyConnection| {
            let present = clock(writer)?;
            let running = builds::id.eq(id.0).and(builds::state.eq(BuildState::Running.word()));
            let free = builds::claimed_until.is_null().or(builds::claimed_until.lt(present));
            let row = builds::table.filter(running).filter(free);
            Ok(diesel::update(row).set(claimed(&holder, present, ttl)).execute(writer)? > 0)
        };
        self.db.write("claim a build", work).await
    }

    /// Gives every running build to `holder`: what a start does where it is the only server there is.
    pub async fn take_all_claims(&self, holder: &str, ttl: Duration) -> Result<(), StoreError> {
        let holder = holder.to_owned();
        let work = move |writer: &mut AnyConnection| {
            let present = clock(writer)?;
            let running = builds::table.filter(builds::state.eq(BuildState::Running.word()));
            diesel::update(running).set(claimed(&holder, present, ttl)).execute(writer)?;
            Ok(())
        };
        self.db.write("claim all builds", work).await
    }

    /// Lets every claim of `holder` run out now, so that others need not wait for its time.
    pub async fn let_claims_go(&self, holder: &str) -> Result<(), StoreError> {
        let holder = holder.to_owned();
        let work = move |writer: &mut AnyConnection| {
            let running = builds::state.eq(BuildState::Running.word());
            let mine = builds::table.filter(running).filter(builds::claimed_by.eq(&holder));
            diesel::update(mine).set(builds::claimed_until.eq(0)).execute(writer)?;
            Ok(())
        };
        self.db.write("let claims go", work).await
    }

    /// Asks whoever runs a build to end it for this reason; the first reason counts. `false` where it does not run.
    pub async fn ask_to_end(&self, id: BuildId, reason: &Fault) -> Result<bool, StoreError> {
        let reason = reason.clone();
        let work = move |writer: &mut AnyConnection| {
            let running = builds::id.eq(id.0).and(builds::state.eq(BuildState::Running.word()));
            let asked = builds::table.filter(running).select(builds::stop).first::<Option<String>>(writer);
            match asked.optional()? {
                None => return Ok(false),
                Some(Some(_)) => return Ok(true),
                Some(None) => {}
            }
            let change = builds::stop.eq(json("builds.stop", &reason)?);
            Ok(diesel::update(builds::table.filter(running)).set(change).execute(writer)? > 0)
        };
        self.db.write("ask for a build's end", work).await
    }

    /// The unfinished builds whose client waited at a server that does not live any more, oldest first.
    pub async fn orphaned_builds(&self) -> Result<Vec<Build>, StoreError> {
        let work = |reader: &mut AnyConnection| {
            let open = builds::table.inner_join(tools::table).filter(builds::state.eq_any(UNFINISHED));
            let attached = open.filter(builds::attached_to.is_not_null()).order(builds::id);
            let rows = attached.select((Row::as_select(), tools::name)).load::<(Row, String)>(reader)?;
            let present = clock(reader)?;
            let mut orphaned = Vec::new();
            for (row, tool) in rows {
                let build = row.read(&tool)?;
                let server = build.attached_to.as_deref().unwrap_or_default();
                if !is_held(reader, &life(server), present)? {
                    orphaned.push(build);
                }
            }
            Ok(orphaned)
        };
        self.db.read("list orphaned builds", work).await
    }
}
