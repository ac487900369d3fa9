//! The queue of builds: durable, fair between tools.
//!
//! Each queued build waits behind the running builds of its own tool and its older queued ones; those that wait behind
//! equally many go in the order of their tools' last turns, then of their arrival. So a tool with a hundred builds
//! delays another's single one by one turn, not by a hundred. Of one tool only one build is taken at a time: two would use
//! the same cache.
//!
//! Several servers may ask at once: each looks at the whole queue, and of two that would take their turn on the same sight
//! of it the database lets one look again (`db.rs`).

use crate::builds::{Row, UNFINISHED, one};
use crate::claims::{claimed, is_anothers, unclaimed};
use crate::codec::now;
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::dialect::clock;
use crate::schema::{builds, tools};
use crate::tools::tool_id;
use crate::{Build, BuildState, Store, StoreError};
use diesel::prelude::*;
use hythe_model::{BuildId, ToolName};
use std::collections::HashMap;
use std::time::Duration;

/// A queued build and what its place in the queue depends on.
type Waiting = (i64, i64, i64);

/// A place in the queue: builds of the same tool before it, its tool's last turn, its number.
type Place = (i64, i64, i64);

/// The places of the queued builds, next first.
fn places(connection: &mut AnyConnection) -> Outcome<Vec<Place>> {
    // One that rolls its release out builds no more.
    let builds_still = builds::state.eq(BuildState::Running.word()).and(builds::release_number.is_null());
    let running = builds::table.filter(builds_still);
    let counts = running.group_by(builds::tool_id).select((builds::tool_id, diesel::dsl::count_star()));
    let mut ahead: HashMap<i64, i64> = counts.load::<(i64, i64)>(connection)?.into_iter().collect();
    let queued = builds::table.inner_join(tools::table).filter(builds::state.eq(BuildState::Queued.word()));
    let columns = (builds::id, builds::tool_id, tools::last_turn_at);
    let waiting = queued.order(builds::id).select(columns).load::<Waiting>(connection)?;
    let mut places: Vec<Place> = Vec::with_capacity(waiting.len());
    for (id, tool, last_turn) in waiting {
        let before = ahead.entry(tool).or_default();
        places.push((*before, last_turn, id));
        *before += 1;
    }
    places.sort_unstable();
    Ok(places)
}

/// The queued builds, next first.
fn order(connection: &mut AnyConnection) -> Outcome<Vec<BuildId>> {
    Ok(places(connection)?.into_iter().map(|(_, _, id)| BuildId(id)).collect())
}

/// The first build that no other one of its tool goes before.
fn next(connection: &mut AnyConnection) -> Outcome<Option<BuildId>> {
    let first = places(connection)?.into_iter().next();
    Ok(first.filter(|(before, _, _)| *before == 0).map(|(_, _, id)| BuildId(id)))
}

fn start(writer: &mut AnyConnection, id: BuildId, holder: &str, ttl: Duration) -> Outcome<bool> {
    let present = clock(writer)?;
    let row = builds::table.find(id.0).filter(builds::state.eq(BuildState::Queued.word()));
    let running = (builds::state.eq(BuildState::Running.word()), builds::started_at.eq(present));
    let change = (running, claimed(holder, present, ttl));
    if diesel::update(row).set(change).execute(writer)? == 0 {
        return Ok(false);
    }
    let tool = builds::table.find(id.0).select(builds::tool_id).first::<i64>(writer)?;
    diesel::update(tools::table.find(tool)).set(tools::last_turn_at.eq(present)).execute(writer)?;
    Ok(true)
}

impl Store {
    /// Takes the next queued build for `holder` and marks it running, in one step; `None` where nothing waits but builds
    /// of tools that have one running. Whoever ends a build is to ask again. The claim is good for `ttl`, and longer
    /// where it is renewed ([`Store::renew_claims`]).
    pub async fn claim_next_build(&self, holder: &str, ttl: Duration) -> Result<Option<Build>, StoreError> {
        let holder = holder.to_owned();
        let work = move |writer: &mut AnyConnection| {
            let Some(id) = next(writer)? else { return Ok(None) };
            start(writer, id, &holder, ttl)?;
            one(writer, id)
        };
        self.db.write("take the next build", work).await
    }

    /// Marks one queued build running for `holder`, out of turn. `false` where it was not queued any more.
    pub async fn start_build(&self, id: BuildId, holder: &str, ttl: Duration) -> Result<bool, StoreError> {
        let holder = holder.to_owned();
        self.db.write("start a build", move |writer| start(writer, id, &holder, ttl)).await
    }

    /// Puts a running build without a release back into the queue, as after a restart. `false` where there was none, or another holder runs it.
    pub async fn requeue_build(&self, id: BuildId) -> Result<bool, StoreError> {
        let holder = self.holder.clone();
        let work = move |writer: &mut AnyConnection| {
            if is_anothers(writer, id, holder.as_deref())? {
                return Ok(false);
            }
            let running = builds::state.eq(BuildState::Running.word()).and(builds::release_number.is_null());
            let change = (builds::state.eq(BuildState::Queued.word()), unclaimed());
            let row = builds::table.filter(builds::id.eq(id.0)).filter(running);
            Ok(diesel::update(row).set(change).execute(writer)? > 0)
        };
        self.db.write("queue a build again", work).await
    }

    /// Marks the tool's older unfinished builds that have no release yet as superseded by this one, and says which
    /// they were. A build whose release is being rolled out is not touched: the newer one waits for it.
    pub async fn supersede_older_builds(&self, newer: BuildId) -> Result<Vec<BuildId>, StoreError> {
        let work = move |writer: &mut AnyConnection| {
            let tool = builds::table.find(newer.0).select(builds::tool_id).first::<i64>(writer).optional()?;
            let tool = tool.ok_or_else(|| crate::builds::absent(newer))?;
            let older = builds::tool_id.eq(tool).and(builds::id.lt(newer.0));
            let open = builds::state.eq_any(UNFINISHED).and(builds::release_number.is_null());
            let rows = builds::table.filter(older).filter(open);
            let ids = rows.order(builds::id).select(builds::id).load::<i64>(writer)?;
            let change = (
                builds::state.eq(BuildState::Superseded.word()),
                builds::superseded_by.eq(newer.0),
                builds::ended_at.eq(now()),
                unclaimed(),
            );
            diesel::update(builds::table.filter(builds::id.eq_any(&ids))).set(change).execute(writer)?;
            Ok(ids.into_iter().map(BuildId).collect())
        };
        self.db.write("supersede older builds", work).await
    }

    /// Every queued or running build of every tool, oldest first: what a start has to resume.
    pub async fn unfinished_builds(&self) -> Result<Vec<Build>, StoreError> {
        let work = |reader: &mut AnyConnection| {
            let open = builds::table.inner_join(tools::table).filter(builds::state.eq_any(UNFINISHED));
            let query = open.order(builds::id).select((Row::as_select(), tools::name));
            let rows = query.load::<(Row, String)>(reader)?;
            Ok(rows.into_iter().map(|(row, tool)| row.read(&tool)).collect::<Result<_, _>>()?)
        };
        self.db.read("list unfinished builds", work).await
    }

    /// A tool's builds that have not ended, oldest first.
    pub async fn unfinished_builds_of(&self, tool: &ToolName) -> Result<Vec<Build>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let mine = builds::table.filter(builds::tool_id.eq(tool_id(reader, &tool)?));
            let open = mine.filter(builds::state.eq_any(UNFINISHED)).order(builds::id);
            let rows = open.select(Row::as_select()).load(reader)?;
            Ok(rows.into_iter().map(|row: Row| row.read(tool.as_str())).collect::<Result<_, _>>()?)
        };
        self.db.read("list a tool's unfinished builds", work).await
    }

    /// How many queued builds go before this one; `None` where it is not queued.
    pub async fn queue_position(&self, id: BuildId) -> Result<Option<usize>, StoreError> {
        let work = move |reader: &mut AnyConnection| Ok(order(reader)?.iter().position(|other| *other == id));
        self.db.read("read the queue", work).await
    }
}
