//! Builds: what is built, and how it ended.
//!
//! Their order and their turns are in `queue`.

use crate::claims::{expect_own, is_anothers, unclaimed};
use crate::codec::{from_json, json, narrow, now, parse, time, words};
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::dialect::number_in_order;
use crate::schema::{builds, tools};
use crate::tools::tool_id;
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::{
    Actor, BuildCause, BuildId, CommitId, Fault, PublishedImage, PushOptions, ReleaseNumber, SourceTree,
    ToolName,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a build stands. Queued and running builds are unfinished; the others never change again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildState {
    /// Waits for its turn.
    Queued,
    /// Builds, or rolls its release out.
    Running,
    /// Its release went live.
    Succeeded,
    /// It or its release failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// A newer push took its place.
    Superseded,
}

impl BuildState {
    /// Whether the build will never change again.
    pub fn is_finished(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// How a build ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildOutcome {
    /// Its release is live.
    Succeeded,
    /// It failed.
    Failed(Fault),
    /// Somebody ended it.
    Cancelled(Fault),
}

impl BuildOutcome {
    /// Why it did not succeed.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Succeeded => None,
            Self::Failed(fault) | Self::Cancelled(fault) => Some(fault),
        }
    }
}

/// A build to queue. Its source is durable already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBuild {
    /// The tool.
    pub tool: ToolName,
    /// What is built.
    pub source: SourceTree,
    /// The full ref that is to name the commit once it is live.
    pub reference: String,
    /// What the ref named when the push began.
    pub old: Option<CommitId>,
    /// The options of the push.
    pub options: PushOptions,
    /// Why it was asked for.
    pub cause: BuildCause,
    /// By whom.
    pub actor: Actor,
}

/// A build's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its number.
    pub id: BuildId,
    /// Its tool.
    pub tool: ToolName,
    /// Where it stands.
    pub state: BuildState,
    /// What is built.
    pub source: SourceTree,
    /// The full ref that is to name the commit once it is live.
    pub reference: String,
    /// What the ref named when the push began.
    pub old: Option<CommitId>,
    /// The options of the push.
    pub options: PushOptions,
    /// Why it was asked for.
    pub cause: BuildCause,
    /// By whom.
    pub actor: Actor,
    /// What it made, once published.
    pub image: Option<PublishedImage>,
    /// Its release, once written.
    pub release: Option<ReleaseNumber>,
    /// Why it failed or was cancelled.
    pub fault: Option<Fault>,
    /// The build that took its place.
    pub superseded_by: Option<BuildId>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When its turn came, the last time.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Who runs it.
    pub claimed_by: Option<String>,
    /// Until when nobody else may resume it, by the database's clock.
    pub claimed_until: Option<Timestamp>,
    /// Why whoever runs it is to end it.
    pub stop: Option<Fault>,
    /// The server whose client waits for it.
    pub attached_to: Option<String>,
}

words!(BuildState {
    Queued = "queued",
    Running = "running",
    Succeeded = "succeeded",
    Failed = "failed",
    Cancelled = "cancelled",
    Superseded = "superseded",
});

/// The words of the states that are not finished.
pub(crate) const UNFINISHED: [&str; 2] = ["queued", "running"];

#[derive(Queryable, Selectable)]
#[diesel(table_name = builds)]
pub(crate) struct Row {
    pub(crate) id: i64,
    state: String,
    source: String,
    reference: String,
    old_commit: Option<String>,
    options: String,
    cause: String,
    actor: String,
    image: Option<String>,
    release_number: Option<i64>,
    fault: Option<String>,
    superseded_by: Option<i64>,
    created_at: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    claimed_by: Option<String>,
    claimed_until: Option<i64>,
    stop: Option<String>,
    attached_to: Option<String>,
}

impl Row {
    pub(crate) fn read(self, tool: &str) -> Result<Build, StoreError> {
        let number = |number| narrow("builds.release_number", number).map(ReleaseNumber);
        Ok(Build {
            id: BuildId(self.id),
            tool: parse("builds.tool_id", tool)?,
            state: parse("builds.state", &self.state)?,
            source: from_json("builds.source", &self.source)?,
            reference: self.reference,
            old: self.old_commit.map(|commit| parse("builds.old_commit", &commit)).transpose()?,
            options: from_json("builds.options", &self.options)?,
            cause: from_json("builds.cause", &self.cause)?,
            actor: from_json("builds.actor", &self.actor)?,
            image: self.image.map(|image| from_json("builds.image", &image)).transpose()?,
            release: self.release_number.map(number).transpose()?,
            fault: self.fault.map(|fault| from_json("builds.fault", &fault)).transpose()?,
            superseded_by: self.superseded_by.map(BuildId),
            created_at: time("builds.created_at", self.created_at)?,
            started_at: self.started_at.map(|at| time("builds.started_at", at)).transpose()?,
            ended_at: self.ended_at.map(|at| time("builds.ended_at", at)).transpose()?,
            claimed_by: self.claimed_by,
            claimed_until: self.claimed_until.map(|at| time("builds.claimed_until", at)).transpose()?,
            stop: self.stop.map(|fault| from_json("builds.stop", &fault)).transpose()?,
            attached_to: self.attached_to,
        })
    }
}

/// One build with its tool's name.
pub(crate) fn one(connection: &mut AnyConnection, id: BuildId) -> Outcome<Option<Build>> {
    let query = builds::table.inner_join(tools::table).filter(builds::id.eq(id.0));
    let row = query.select((Row::as_select(), tools::name)).first::<(Row, String)>(connection).optional()?;
    Ok(row.map(|(row, tool)| row.read(&tool)).transpose()?)
}

pub(crate) fn absent(id: BuildId) -> StoreError {
    StoreError::Absent { what: format!("build {id}") }
}

/// Ends an unfinished build within a larger transaction; `false` where it had ended already, or is not this holder's.
pub(crate) fn finish(
    writer: &mut AnyConnection,
    id: BuildId,
    outcome: &BuildOutcome,
    holder: Option<&str>,
) -> Outcome<bool> {
    if is_anothers(writer, id, holder)? {
        return Ok(false);
    }
    end(writer, id, outcome, &UNFINISHED)
}

/// Ends a build that is in one of these states.
fn end(writer: &mut AnyConnection, id: BuildId, outcome: &BuildOutcome, from: &[&str]) -> Outcome<bool> {
    let (state, fault) = match outcome {
        BuildOutcome::Succeeded => (BuildState::Succeeded, None),
        BuildOutcome::Failed(fault) => (BuildState::Failed, Some(fault)),
        BuildOutcome::Cancelled(fault) => (BuildState::Cancelled, Some(fault)),
    };
    let fault = fault.map(|fault| json("builds.fault", fault)).transpose()?;
    let row = builds::table.find(id.0).filter(builds::state.eq_any(from));
    let change =
        (builds::state.eq(state.word()), builds::fault.eq(fault), builds::ended_at.eq(now()), unclaimed());
    Ok(diesel::update(row).set(change).execute(writer)? > 0)
}

impl Store {
    /// Queues a build durably. Of a push whose client waits it is noted that this holder serves it.
    pub async fn enqueue_build(&self, build: NewBuild) -> Result<Build, StoreError> {
        let attached_to = self.holder.clone().filter(|_| build.cause == BuildCause::Push);
        let work = move |writer: &mut AnyConnection| {
            number_in_order(writer)?;
            let row = (
                builds::tool_id.eq(tool_id(writer, &build.tool)?),
                builds::state.eq(BuildState::Queued.word()),
                builds::source.eq(json("builds.source", &build.source)?),
                builds::reference.eq(&build.reference),
                builds::old_commit.eq(build.old.as_ref().map(CommitId::as_str)),
                builds::options.eq(json("builds.options", &build.options)?),
                builds::cause.eq(json("builds.cause", &build.cause)?),
                builds::actor.eq(json("builds.actor", &build.actor)?),
                builds::created_at.eq(now()),
                builds::attached_to.eq(attached_to.as_deref()),
            );
            let id =
                diesel::insert_into(builds::table).values(row).returning(builds::id).get_result(writer)?;
            Ok(one(writer, BuildId(id))?.ok_or_else(|| absent(BuildId(id)))?)
        };
        self.db.write("queue a build", work).await
    }

    /// Records the image of a running build. A conflict where it is not running any more.
    pub async fn set_build_image(&self, id: BuildId, image: &PublishedImage) -> Result<(), StoreError> {
        let (image, holder) = (image.clone(), self.holder.clone());
        let work = move |writer: &mut AnyConnection| {
            expect_own(writer, id, holder.as_deref())?;
            let row = builds::table.find(id.0).filter(builds::state.eq(BuildState::Running.word()));
            let change = builds::image.eq(json("builds.image", &image)?);
            if diesel::update(row).set(change).execute(writer)? == 0 {
                return Err(not_running(writer, id)?.into());
            }
            Ok(())
        };
        self.db.write("record a build's image", work).await
    }

    /// Ends a build that this holder runs. `false`, and no change, where it had ended already, waits, or is run by another one.
    pub async fn finish_build(&self, id: BuildId, outcome: BuildOutcome) -> Result<bool, StoreError> {
        let holder = self.holder.clone();
        self.db.write("end a build", move |writer| finish(writer, id, &outcome, holder.as_deref())).await
    }

    /// Ends a build that waits for its turn. `false`, and no change, where it does not.
    pub async fn end_queued_build(&self, id: BuildId, outcome: BuildOutcome) -> Result<bool, StoreError> {
        let work = move |writer: &mut AnyConnection| end(writer, id, &outcome, &[BuildState::Queued.word()]);
        self.db.write("end a build that waits", work).await
    }

    /// One build.
    pub async fn build(&self, id: BuildId) -> Result<Option<Build>, StoreError> {
        self.db.read("read a build", move |reader| one(reader, id)).await
    }

    /// These builds.
    pub async fn builds_by_id(&self, ids: Vec<BuildId>) -> Result<Vec<Build>, StoreError> {
        let ids: Vec<i64> = ids.into_iter().map(|id| id.0).collect();
        let work = move |reader: &mut AnyConnection| {
            let rows = builds::table.inner_join(tools::table).filter(builds::id.eq_any(&ids));
            let rows = rows.select((Row::as_select(), tools::name)).load::<(Row, String)>(reader)?;
            Ok(rows.into_iter().map(|(row, tool)| row.read(&tool)).collect::<Result<_, _>>()?)
        };
        self.db.read("read builds", work).await
    }

    /// A tool's builds, newest first, at most `limit`.
    pub async fn builds(&self, tool: &ToolName, limit: u32) -> Result<Vec<Build>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let mine = builds::table.filter(builds::tool_id.eq(tool_id(reader, &tool)?));
            let query = mine.order(builds::id.desc()).limit(limit.into()).select(Row::as_select());
            let rows = query.load(reader)?;
            Ok(rows.into_iter().map(|row| row.read(tool.as_str())).collect::<Result<_, _>>()?)
        };
        self.db.read("list builds", work).await
    }
}

/// Why a build that had to be running cannot go on.
pub(crate) fn not_running(connection: &mut AnyConnection, id: BuildId) -> Outcome<StoreError> {
    Ok(match one(connection, id)? {
        None => absent(id),
        Some(build) => StoreError::Conflict { what: format!("build {id} is {}, not running", build.state) },
    })
}
