//! What old work is kept for: the questions of whoever cleans up.

use crate::builds::one;
use crate::codec::parse;
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::dialect::placeholders;
use crate::releases::word;
use crate::schema::builds;
use crate::{Build, Store, StoreError};
use diesel::dsl::max;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use hythe_model::{BuildId, CommitId, Digest, ReleaseState, ToolName};
use std::collections::HashSet;

/// A release whose image and commit must stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedRelease {
    /// Its tool.
    pub tool: ToolName,
    /// Digest of its image's manifest.
    pub image: Digest,
    /// The commit its image was built from.
    pub commit: CommitId,
    /// Whether it is live or on its way.
    pub runs: bool,
}

#[derive(QueryableByName)]
struct ReleaseRow {
    #[diesel(sql_type = Text)]
    tool: String,
    #[diesel(sql_type = Text)]
    image: String,
    #[diesel(sql_type = Text)]
    commit_id: String,
    #[diesel(sql_type = Text)]
    state: String,
}

impl ReleaseRow {
    fn read(self) -> Result<RetainedRelease, StoreError> {
        Ok(RetainedRelease {
            tool: parse("tools.name", &self.tool)?,
            image: parse("releases.image", &self.image)?,
            commit: parse("releases.commit_id", &self.commit_id)?,
            runs: [ReleaseState::Live, ReleaseState::RollingOut].map(word).contains(&self.state.as_str()),
        })
    }
}

#[derive(QueryableByName)]
struct BuildRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// The newest of each tool among those that did not fail, and whatever is live or on its way.
const RELEASES: &str = "SELECT tools.name AS tool, ranked.image AS image, ranked.commit_id AS commit_id, ranked.state AS state FROM ( \
        SELECT *, row_number() OVER (PARTITION BY tool_id ORDER BY number DESC) AS place FROM releases WHERE state <> ? \
    ) AS ranked JOIN tools ON tools.id = ranked.tool_id \
    WHERE (ranked.place <= ? OR ranked.state IN (?, ?))";

/// What makes it one tool's.
const OF_TOOL: &str = " AND ranked.tool_id = (SELECT id FROM tools WHERE name = ?)";

const IN_ORDER: &str = " ORDER BY ranked.tool_id, ranked.number DESC";

const BUILDS: &str = "SELECT id FROM ( \
        SELECT id, state, row_number() OVER (PARTITION BY tool_id ORDER BY id DESC) AS place FROM builds \
    ) AS ranked WHERE place <= ? OR state IN ('queued', 'running')";

impl Store {
    /// The live releases of all tools, those that roll out, and of each tool the newest `per_tool` that did not fail: tool by tool, newest
    /// first.
    pub async fn retained_releases(&self, per_tool: u32) -> Result<Vec<RetainedRelease>, StoreError> {
        self.retained("list the releases to keep", None, per_tool).await
    }

    /// The same of one tool.
    pub async fn retained_releases_of(
        &self,
        tool: &ToolName,
        most: u32,
    ) -> Result<Vec<RetainedRelease>, StoreError> {
        self.retained("list a tool's releases to keep", Some(tool), most).await
    }

    async fn retained(
        &self,
        operation: &'static str,
        of: Option<&ToolName>,
        per_tool: u32,
    ) -> Result<Vec<RetainedRelease>, StoreError> {
        let of = of.map(ToString::to_string);
        let work = move |reader: &mut AnyConnection| {
            let of_tool = if of.is_some() { OF_TOOL } else { "" };
            let text = format!("{RELEASES}{of_tool}{IN_ORDER}");
            let query = diesel::sql_query(placeholders(reader, &text))
                .bind::<Text, _>(word(ReleaseState::Failed))
                .bind::<BigInt, _>(i64::from(per_tool))
                .bind::<Text, _>(word(ReleaseState::Live))
                .bind::<Text, _>(word(ReleaseState::RollingOut));
            let rows: Vec<ReleaseRow> = match &of {
                Some(tool) => query.bind::<Text, _>(tool).load(reader)?,
                None => query.load(reader)?,
            };
            Ok(rows.into_iter().map(ReleaseRow::read).collect::<Result<_, StoreError>>()?)
        };
        self.db.read(operation, work).await
    }

    /// The newest `per_tool` builds of each tool and all that have not ended.
    pub async fn newest_builds(&self, per_tool: u32) -> Result<HashSet<BuildId>, StoreError> {
        let work = move |reader: &mut AnyConnection| {
            let rows: Vec<BuildRow> = diesel::sql_query(placeholders(reader, BUILDS))
                .bind::<BigInt, _>(i64::from(per_tool))
                .load(reader)?;
            Ok(rows.into_iter().map(|row| BuildId(row.id)).collect())
        };
        self.db.read("list the newest builds", work).await
    }

    /// The builds of all tools that ended last, at most `limit`.
    pub async fn ended_builds(&self, limit: u32) -> Result<Vec<Build>, StoreError> {
        let work = move |reader: &mut AnyConnection| {
            let ended = builds::table.filter(builds::ended_at.is_not_null()).order(builds::ended_at.desc());
            let ids: Vec<i64> = ended.limit(limit.into()).select(builds::id).load(reader)?;
            let read = ids.into_iter().map(|id| one(reader, BuildId(id)));
            Ok(read.collect::<Outcome<Vec<_>>>()?.into_iter().flatten().collect())
        };
        self.db.read("list ended builds", work).await
    }

    /// The build that was queued last, of all tools.
    pub async fn last_build(&self) -> Result<Option<BuildId>, StoreError> {
        let work = |reader: &mut AnyConnection| {
            Ok(builds::table.select(max(builds::id)).first::<Option<i64>>(reader)?.map(BuildId))
        };
        self.db.read("find the last build", work).await
    }
}
