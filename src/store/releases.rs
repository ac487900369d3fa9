//! Releases: numbered, immutable triples; one a tool is live.

use crate::builds::{finish, not_running};
use crate::claims::expect_own;
use crate::codec::{from_json, json, narrow, now, parse, time};
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::leases::expect_turn;
use crate::repositories::{RefMove, move_ref};
use crate::schema::{builds, releases, tools};
use crate::tools::tool_id;
use crate::{BuildOutcome, DeployRef, Store, StoreError, ToolSettings};
use diesel::prelude::*;
use hythe_model::{
    Actor, BuildId, CommitId, Digest, Fault, Formation, Process, Project, Release, ReleaseCause,
    ReleaseNumber, ReleaseState, ToolName,
};

/// A release to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelease {
    /// Its tool.
    pub tool: ToolName,
    /// Digest of the image's manifest.
    pub image: Digest,
    /// The commit its image was built from.
    pub commit: CommitId,
    /// The processes the image offers.
    pub processes: Vec<Process>,
    /// What the repository says of how they run.
    pub project: Project,
    /// Number of the config's version; 0 is the empty config.
    pub config: i64,
    /// How many instances of what.
    pub formation: Formation,
    /// What made it.
    pub cause: ReleaseCause,
    /// A note of its maker.
    pub message: Option<String>,
    /// Who made it.
    pub actor: Actor,
    /// The running build that made it, where one did.
    pub build: Option<BuildId>,
}

/// What an activation changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The release, now live.
    pub release: Release,
    /// The release that was live before.
    pub superseded: Option<ReleaseNumber>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = releases)]
struct Row {
    number: i64,
    image: String,
    commit_id: String,
    processes: String,
    config: i64,
    formation: String,
    cause: String,
    message: Option<String>,
    actor: String,
    state: String,
    fault: Option<String>,
    created_at: i64,
    project: Option<String>,
}

impl Row {
    fn read(self, tool: &str) -> Result<Release, StoreError> {
        Ok(Release {
            tool: parse("releases.tool_id", tool)?,
            number: number(self.number)?,
            image: parse("releases.image", &self.image)?,
            commit: parse("releases.commit_id", &self.commit_id)?,
            processes: from_json("releases.processes", &self.processes)?,
            project: self
                .project
                .map(|text| from_json("releases.project", &text))
                .transpose()?
                .unwrap_or_default(),
            config: self.config,
            formation: from_json("releases.formation", &self.formation)?,
            cause: from_json("releases.cause", &self.cause)?,
            message: self.message,
            actor: from_json("releases.actor", &self.actor)?,
            state: read_state(&self.state)?,
            fault: self.fault.map(|fault| from_json("releases.fault", &fault)).transpose()?,
            created_at: time("releases.created_at", self.created_at)?,
        })
    }
}

fn number(stored: i64) -> Result<ReleaseNumber, StoreError> {
    narrow("releases.number", stored).map(ReleaseNumber)
}

/// The words of the states; the schema's indexes name two of them.
pub(crate) fn word(state: ReleaseState) -> &'static str {
    match state {
        ReleaseState::RollingOut => "rolling-out",
        ReleaseState::Live => "live",
        ReleaseState::Superseded => "superseded",
        ReleaseState::Failed => "failed",
    }
}

fn read_state(text: &str) -> Result<ReleaseState, StoreError> {
    use hythe_model::ReleaseState::{Failed, Live, RollingOut, Superseded};
    let found = [RollingOut, Live, Superseded, Failed].into_iter().find(|state| word(*state) == text);
    found.ok_or_else(|| StoreError::Corrupt {
        column: "releases.state",
        reason: format!("`{text}` is no state"),
    })
}

fn one(
    connection: &mut AnyConnection,
    tool: &ToolName,
    id: i64,
    number: ReleaseNumber,
) -> Outcome<Option<Release>> {
    let row = releases::table.find((id, i64::from(number.0))).select(Row::as_select());
    Ok(row.first(connection).optional()?.map(|row| row.read(tool.as_str())).transpose()?)
}

/// Number of the live release.
fn live(connection: &mut AnyConnection, tool: i64) -> Outcome<Option<ReleaseNumber>> {
    let row = releases::table
        .filter(releases::tool_id.eq(tool))
        .filter(releases::state.eq(word(ReleaseState::Live)));
    let found = row.select(releases::number).first::<i64>(connection).optional()?;
    Ok(found.map(number).transpose()?)
}

/// A release whose state has changed.
struct Shifted {
    build: Option<BuildId>,
}

/// Moves a release from one state to another. `None` where it was not in the first.
fn shift(
    writer: &mut AnyConnection,
    (tool, number): (i64, ReleaseNumber),
    from: ReleaseState,
    to: ReleaseState,
    fault: Option<&Fault>,
) -> Outcome<Option<Shifted>> {
    let fault = fault.map(|fault| json("releases.fault", fault)).transpose()?;
    let row = releases::table.find((tool, i64::from(number.0))).filter(releases::state.eq(word(from)));
    let change = (releases::state.eq(word(to)), releases::fault.eq(fault));
    let build =
        diesel::update(row).set(change).returning(releases::build_id).get_result::<Option<i64>>(writer);
    Ok(build.optional()?.map(|build| Shifted { build: build.map(BuildId) }))
}

fn name(number: Option<ReleaseNumber>) -> String {
    number.map_or_else(|| "no release".to_owned(), |number| number.to_string())
}

/// The next number of a tool.
fn next_number(writer: &mut AnyConnection, tool: i64) -> Outcome<i64> {
    let row = diesel::update(tools::table.find(tool)).set(tools::next_release.eq(tools::next_release + 1));
    Ok(row.returning(tools::next_release - 1).get_result::<i64>(writer)?)
}

fn insert(
    writer: &mut AnyConnection,
    tool: i64,
    new: &NewRelease,
    holder: Option<&str>,
) -> Outcome<ReleaseNumber> {
    expect_turn(writer, &new.tool, holder)?;
    let next = next_number(writer, tool)?;
    let settings: String = tools::table.find(tool).select(tools::settings).first(writer)?;
    let row = (
        releases::tool_id.eq(tool),
        releases::number.eq(next),
        releases::image.eq(new.image.as_str()),
        releases::commit_id.eq(new.commit.as_str()),
        releases::processes.eq(json("releases.processes", &new.processes)?),
        releases::config.eq(new.config),
        releases::formation.eq(json("releases.formation", &new.formation)?),
        releases::cause.eq(json("releases.cause", &new.cause)?),
        releases::message.eq(new.message.as_deref()),
        releases::actor.eq(json("releases.actor", &new.actor)?),
        releases::state.eq(word(ReleaseState::RollingOut)),
        releases::build_id.eq(new.build.map(|build| build.0)),
        releases::created_at.eq(now()),
        releases::settings.eq(settings),
        releases::project.eq(json("releases.project", &new.project)?),
    );
    diesel::insert_into(releases::table).values(row).execute(writer)?;
    if let Some(build) = new.build {
        expect_own(writer, build, holder)?;
        let running = builds::state.eq(crate::BuildState::Running.word()).and(builds::tool_id.eq(tool));
        let row = builds::table.filter(builds::id.eq(build.0)).filter(running);
        if diesel::update(row).set(builds::release_number.eq(next)).execute(writer)? == 0 {
            return Err(not_running(writer, build)?.into());
        }
    }
    Ok(number(next)?)
}

/// Refuses to go on with a release whose end was asked for, or that of its build: whoever asked was told that it ends.
fn expect_wanted(writer: &mut AnyConnection, tool: i64, number: ReleaseNumber) -> Outcome<()> {
    let row = releases::table.find((tool, i64::from(number.0)));
    let rolling = row.filter(releases::state.eq(word(ReleaseState::RollingOut)));
    let found = rolling.select((releases::fault, releases::build_id));
    let Some((own, build)) = found.first::<(Option<String>, Option<i64>)>(writer).optional()? else {
        return Ok(());
    };
    let of_build = match build {
        Some(build) => builds::table.find(build).select(builds::stop).first::<Option<String>>(writer)?,
        None => None,
    };
    match own.or(of_build) {
        Some(reason) => {
            Err(StoreError::Ended { reason: Box::new(from_json("releases.fault", &reason)?) }.into())
        }
        None => Ok(()),
    }
}

fn activate(
    writer: &mut AnyConnection,
    tool: &ToolName,
    new: ReleaseNumber,
    expected: Option<ReleaseNumber>,
    deployed: &DeployRef,
    holder: Option<&str>,
) -> Outcome<Activation> {
    use hythe_model::ReleaseState::{Live, RollingOut, Superseded};
    let id = tool_id(writer, tool)?;
    expect_turn(writer, tool, holder)?;
    let found = live(writer, id)?;
    if found != expected {
        let what = format!("{} of {tool} is live, not {}", name(found), name(expected));
        return Err(StoreError::Conflict { what }.into());
    }
    expect_wanted(writer, id, new)?;
    if let Some(old) = found {
        shift(writer, (id, old), Live, Superseded, None)?;
    }
    let Some(shifted) = shift(writer, (id, new), RollingOut, Live, None)? else {
        let what = format!("{new} of {tool} is not rolling out");
        return Err(StoreError::Conflict { what }.into());
    };
    if let Some(build) = shifted.build
        && !finish(writer, build, &BuildOutcome::Succeeded, holder)?
    {
        expect_own(writer, build, holder)?;
        return Err(not_running(writer, build)?.into());
    }
    let change =
        (tools::deployed_ref.eq(&deployed.reference), tools::deployed_commit.eq(deployed.commit.as_str()));
    diesel::update(tools::table.find(id)).set(change).execute(writer)?;
    let release = one(writer, tool, id, new)?;
    let release = release.ok_or_else(|| StoreError::Absent { what: format!("release {new} of {tool}") })?;
    Ok(Activation { release, superseded: found })
}

impl Store {
    /// Writes the next release of a tool as [`ReleaseState::RollingOut`], and its number into its build.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the build is not running any more, as when it was superseded or cancelled.
    pub async fn create_release(&self, release: NewRelease) -> Result<Release, StoreError> {
        self.write_release(release, None).await
    }

    /// The same in place of one that rolls out, which has failed for this reason from then on; their build goes on.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] as above, and where the other one does not roll out any more.
    pub async fn replace_release(
        &self,
        old: ReleaseNumber,
        reason: &Fault,
        release: NewRelease,
    ) -> Result<Release, StoreError> {
        self.write_release(release, Some((old, reason.clone()))).await
    }

    async fn write_release(
        &self,
        release: NewRelease,
        instead_of: Option<(ReleaseNumber, Fault)>,
    ) -> Result<Release, StoreError> {
        let holder = self.holder.clone();
        let work = move |writer: &mut AnyConnection| {
            let tool = tool_id(writer, &release.tool)?;
            if let Some((old, reason)) = &instead_of {
                let (from, to) = (ReleaseState::RollingOut, ReleaseState::Failed);
                if shift(writer, (tool, *old), from, to, Some(reason))?.is_none() {
                    let what = format!("{old} of {} is not rolling out", release.tool);
                    return Err(StoreError::Conflict { what }.into());
                }
            }
            let number = insert(writer, tool, &release, holder.as_deref())?;
            let written = one(writer, &release.tool, tool, number)?;
            Ok(written.ok_or_else(|| StoreError::Absent { what: format!("release {number}") })?)
        };
        self.db.write("write a release", work).await
    }

    /// Makes a release live, in one transaction: compares that the live release is `expected`, marks this one live, the
    /// old one superseded and the release's build succeeded, and records which commit the deploy ref must name.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where another release is live, this one is not rolling out, or its build was ended
    /// meanwhile, [`StoreError::Ended`] where somebody has asked for its end; nothing has changed then.
    pub async fn activate(
        &self,
        tool: &ToolName,
        number: ReleaseNumber,
        expected: Option<ReleaseNumber>,
        deployed: &DeployRef,
    ) -> Result<Activation, StoreError> {
        self.activate_with_ref(tool, number, expected, deployed, None).await
    }

    /// The same, together with the move of the deploy ref where repositories are rows.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] as above, and where the ref stands elsewhere.
    pub async fn activate_with_ref(
        &self,
        tool: &ToolName,
        number: ReleaseNumber,
        expected: Option<ReleaseNumber>,
        deployed: &DeployRef,
        moved: Option<RefMove>,
    ) -> Result<Activation, StoreError> {
        let (tool, deployed, holder) = (tool.clone(), deployed.clone(), self.holder.clone());
        let work = move |writer: &mut AnyConnection| {
            if let Some(moved) = &moved {
                move_ref(writer, &tool, moved)?;
            }
            activate(writer, &tool, number, expected, &deployed, holder.as_deref())
        };
        self.db.write("make a release live", work).await
    }

    /// Marks a release that is rolling out as failed, and ends its unfinished build with this outcome. `false`, and no
    /// change, where it was not rolling out any more.
    pub async fn fail_release(
        &self,
        tool: &ToolName,
        number: ReleaseNumber,
        outcome: &BuildOutcome,
    ) -> Result<bool, StoreError> {
        let (tool, outcome, holder) = (tool.clone(), outcome.clone(), self.holder.clone());
        let work = move |writer: &mut AnyConnection| {
            let release = (tool_id(writer, &tool)?, number);
            expect_turn(writer, &tool, holder.as_deref())?;
            let (from, to) = (ReleaseState::RollingOut, ReleaseState::Failed);
            let done = shift(writer, release, from, to, outcome.fault())?;
            if let Some(Shifted { build: Some(build) }) = done {
                expect_own(writer, build, holder.as_deref())?;
                finish(writer, build, &outcome, holder.as_deref())?;
            }
            Ok(done.is_some())
        };
        self.db.write("mark a release as failed", work).await
    }

    /// Asks whoever rolls a release out to end it, which its fault says from then on; the first reason counts. `false` where it does
    /// not roll out any more.
    pub async fn ask_release_to_end(
        &self,
        tool: &ToolName,
        number: ReleaseNumber,
        reason: &Fault,
    ) -> Result<bool, StoreError> {
        let (tool, reason) = (tool.clone(), reason.clone());
        let work = move |writer: &mut AnyConnection| {
            let row = releases::table.find((tool_id(writer, &tool)?, i64::from(number.0)));
            let rolling = row.filter(releases::state.eq(word(ReleaseState::RollingOut)));
            let asked = rolling.filter(releases::fault.is_null());
            let change = releases::fault.eq(json("releases.fault", &reason)?);
            diesel::update(asked).set(change).execute(writer)?;
            Ok(rolling.count().get_result::<i64>(writer)? > 0)
        };
        self.db.write("ask for a rollout's end", work).await
    }

    /// One release.
    pub async fn release(
        &self,
        tool: &ToolName,
        number: ReleaseNumber,
    ) -> Result<Option<Release>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let id = tool_id(reader, &tool)?;
            one(reader, &tool, id, number)
        };
        self.db.read("read a release", work).await
    }

    /// The tool's settings as they were when the release was made.
    pub async fn release_settings(
        &self,
        tool: &ToolName,
        number: ReleaseNumber,
    ) -> Result<ToolSettings, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let id = tool_id(reader, &tool)?;
            let row = releases::table.find((id, i64::from(number.0))).select(releases::settings);
            let own = row.first::<Option<String>>(reader).optional()?.flatten();
            let text = match own {
                Some(text) => text,
                None => tools::table.find(id).select(tools::settings).first(reader)?,
            };
            Ok(from_json("releases.settings", &text)?)
        };
        self.db.read("read a release's settings", work).await
    }

    /// A tool's releases, newest first, at most `limit`.
    pub async fn releases(&self, tool: &ToolName, limit: u32) -> Result<Vec<Release>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let mine = releases::table.filter(releases::tool_id.eq(tool_id(reader, &tool)?));
            let query = mine.order(releases::number.desc()).limit(limit.into()).select(Row::as_select());
            let rows = query.load(reader)?;
            Ok(rows.into_iter().map(|row| row.read(tool.as_str())).collect::<Result<_, _>>()?)
        };
        self.db.read("list releases", work).await
    }

    /// A tool's live release.
    pub async fn live_release(&self, tool: &ToolName) -> Result<Option<Release>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let id = tool_id(reader, &tool)?;
            match live(reader, id)? {
                Some(number) => one(reader, &tool, id, number),
                None => Ok(None),
            }
        };
        self.db.read("read the live release", work).await
    }

    /// The live releases of all tools: what a start has to find running.
    pub async fn live_releases(&self) -> Result<Vec<Release>, StoreError> {
        self.releases_in(ReleaseState::Live).await
    }

    /// The releases of a tool that roll out.
    pub async fn rolling_out_of(&self, tool: &ToolName) -> Result<Vec<Release>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let mine = releases::table.filter(releases::tool_id.eq(tool_id(reader, &tool)?));
            let rolling = mine.filter(releases::state.eq(word(ReleaseState::RollingOut)));
            let rows = rolling.order(releases::number).select(Row::as_select()).load(reader)?;
            Ok(rows.into_iter().map(|row| row.read(tool.as_str())).collect::<Result<_, _>>()?)
        };
        self.db.read("list a tool's rollouts", work).await
    }

    /// The releases of all tools that roll out.
    pub async fn releases_rolling_out(&self) -> Result<Vec<Release>, StoreError> {
        self.releases_in(ReleaseState::RollingOut).await
    }

    async fn releases_in(&self, state: ReleaseState) -> Result<Vec<Release>, StoreError> {
        let work = move |reader: &mut AnyConnection| {
            let all = releases::table.inner_join(tools::table).filter(releases::state.eq(word(state)));
            let query = all.order((tools::name, releases::number)).select((Row::as_select(), tools::name));
            let rows = query.load::<(Row, String)>(reader)?;
            Ok(rows.into_iter().map(|(row, tool)| row.read(&tool)).collect::<Result<_, _>>()?)
        };
        self.db.read("list releases of all tools", work).await
    }
}
