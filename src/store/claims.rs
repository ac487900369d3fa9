//! Who runs a build, and until when nobody else may.
//!
//! A claim is a build's lease: taken with its turn, renewed while it runs, gone with its end. One that has run out shows that
//! its holder died or lost the database, and lets another one resume the build. Time is the database's.

use crate::builds::Row;
use crate::connection::AnyConnection;
use crate::dialect::clock;
use crate::schema::{builds, tools};
use crate::{Build, BuildState, Store, StoreError};
use diesel::prelude::*;
use hythe_model::BuildId;
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

impl Store {
    /// Makes every claim of `holder` good for `ttl` from now, and says which builds they are. One that ran in `holder` and is
    /// not among them has ended, or is another's now: `holder` is to let go of it.
    pub async fn renew_claims(&self, holder: &str, ttl: Duration) -> Result<BTreeSet<BuildId>, StoreError> {
        let holder = holder.to_owned();
        let work = move |writer: &mut AnyConnection| {
            let present = clock(writer)?;
            let running = builds::state.eq(BuildState::Running.word());
            let mine = builds::table.filter(running).filter(builds::claimed_by.eq(&holder));
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
}
