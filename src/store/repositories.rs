//! Git repositories whose packs are objects: which packs there are, where refs stand, and where history is cut off.
//!
//! The rows are the truth, whatever a server has on its disk. Packs only come, but for those that a repacking replaces; a ref
//! moves by compare-and-swap, the deploy ref together with the release that goes live. Each change raises the version.

use crate::codec::parse;
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::schema::{repositories, repository_cuts, repository_packs, repository_refs, tools};
use crate::tools::tool_id;
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::push::clash;
use hythe_model::{CommitId, ToolName};
use std::collections::{BTreeMap, BTreeSet};

/// The version of a repository whose tool is being removed.
const LEAVING: i64 = -1;
/// What a clone checks out before any branch has appeared.
const FIRST_HEAD: &str = "refs/heads/main";

/// Which state of which repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepositoryVersion {
    /// The tool's number: another one where a tool of the same name is made anew.
    pub id: i64,
    /// Higher with each change.
    pub version: i64,
}

/// All that there is of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryState {
    /// Which state it is.
    pub at: RepositoryVersion,
    /// The ref that a clone checks out.
    pub head: String,
    /// Where refs stand.
    pub refs: BTreeMap<String, CommitId>,
    /// Names of the packs.
    pub packs: BTreeSet<String>,
    /// Commits at which history is cut off.
    pub cuts: BTreeSet<CommitId>,
}

/// A ref to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefMove {
    /// Its full name.
    pub reference: String,
    /// Where it must stand; `None`: it must not exist.
    pub from: Option<CommitId>,
    /// Where it is to stand.
    pub to: CommitId,
}

fn version(connection: &mut AnyConnection, tool: i64) -> Outcome<Option<RepositoryVersion>> {
    let row = repositories::table.find(tool).select(repositories::version);
    let version = row.first::<i64>(connection).optional()?;
    Ok(version.filter(|version| *version != LEAVING).map(|version| RepositoryVersion { id: tool, version }))
}

/// The number of a tool whose repository is here, with one version more.
fn changed(writer: &mut AnyConnection, tool: &ToolName) -> Outcome<i64> {
    let id = tool_id(writer, tool)?;
    let row = diesel::update(repositories::table.find(id).filter(repositories::version.ne(LEAVING)));
    if row.set(repositories::version.eq(repositories::version + 1)).execute(writer)? == 0 {
        return Err(StoreError::Absent { what: format!("repository of {tool}") }.into());
    }
    Ok(id)
}

fn stands(connection: &mut AnyConnection, tool: i64, name: &str) -> Outcome<Option<CommitId>> {
    let row = repository_refs::table.find((tool, name)).select(repository_refs::commit_id);
    let commit = row.first::<String>(connection).optional()?;
    Ok(commit.map(|commit| parse("repository_refs.commit_id", &commit)).transpose()?)
}

fn put_ref(writer: &mut AnyConnection, tool: i64, name: &str, commit: &CommitId) -> Outcome<()> {
    let row = repository_refs::table.find((tool, name));
    let change = repository_refs::commit_id.eq(commit.as_str());
    if diesel::update(row).set(change).execute(writer)? == 0 {
        let key = (repository_refs::tool_id.eq(tool), repository_refs::name.eq(name));
        diesel::insert_into(repository_refs::table).values((key, change)).execute(writer)?;
    }
    Ok(())
}

/// A ref that git cannot hold beside one of this name.
fn in_the_way(connection: &mut AnyConnection, tool: i64, name: &str) -> Outcome<Option<String>> {
    let mine = repository_refs::table.filter(repository_refs::tool_id.eq(tool));
    let names = mine.select(repository_refs::name).load::<String>(connection)?;
    Ok(names.into_iter().find(|other| clash(other, name)))
}

/// Moves a ref within a larger transaction, or a conflict where it stands elsewhere or git could not hold it. The first branch that appears becomes what
/// a clone checks out.
pub(crate) fn move_ref(writer: &mut AnyConnection, tool: &ToolName, moved: &RefMove) -> Outcome<()> {
    let id = changed(writer, tool)?;
    let now = stands(writer, id, &moved.reference)?;
    if now != moved.from {
        let place = now.map_or_else(|| "nowhere".to_owned(), |commit| format!("at {commit}"));
        let what = format!("{} of {tool} stands {place}, not where the push found it", moved.reference);
        return Err(StoreError::Conflict { what }.into());
    }
    if now.is_none()
        && let Some(other) = in_the_way(writer, id, &moved.reference)?
    {
        let what = format!("{} of {tool} cannot stand beside {other}", moved.reference);
        return Err(StoreError::Conflict { what }.into());
    }
    put_ref(writer, id, &moved.reference, &moved.to)?;
    choose_head(writer, id, &moved.reference)
}

/// Has a clone check a branch out where what it would check out is not there.
fn choose_head(writer: &mut AnyConnection, tool: i64, branch: &str) -> Outcome<()> {
    let row = repositories::table.find(tool);
    let head = row.select(repositories::head).first::<String>(writer)?;
    if branch.starts_with("refs/heads/") && stands(writer, tool, &head)?.is_none() {
        diesel::update(row).set(repositories::head.eq(branch)).execute(writer)?;
    }
    Ok(())
}

fn add_cuts<'a>(
    writer: &mut AnyConnection,
    tool: i64,
    cuts: impl IntoIterator<Item = &'a CommitId>,
) -> Outcome<()> {
    for cut in cuts {
        let there = repository_cuts::table.find((tool, cut.as_str())).count();
        if there.get_result::<i64>(writer)? == 0 {
            let row = (repository_cuts::tool_id.eq(tool), repository_cuts::commit_id.eq(cut.as_str()));
            diesel::insert_into(repository_cuts::table).values(row).execute(writer)?;
        }
    }
    Ok(())
}

fn add_packs<'a>(
    writer: &mut AnyConnection,
    tool: i64,
    packs: impl IntoIterator<Item = &'a String>,
) -> Outcome<()> {
    for pack in packs {
        let there = repository_packs::table.find((tool, pack)).count().get_result::<i64>(writer)?;
        if there == 0 {
            let row = (repository_packs::tool_id.eq(tool), repository_packs::name.eq(pack));
            diesel::insert_into(repository_packs::table).values(row).execute(writer)?;
        }
    }
    Ok(())
}

fn read(connection: &mut AnyConnection, tool: i64) -> Outcome<Option<RepositoryState>> {
    let Some(at) = version(connection, tool)? else { return Ok(None) };
    let head = repositories::table.find(tool).select(repositories::head).first(connection)?;
    let refs = repository_refs::table.filter(repository_refs::tool_id.eq(tool));
    let refs = refs.select((repository_refs::name, repository_refs::commit_id));
    let refs = refs.load::<(String, String)>(connection)?.into_iter();
    let refs =
        refs.map(|(name, commit)| Ok((name, parse::<CommitId>("repository_refs.commit_id", &commit)?)));
    let packs = repository_packs::table.filter(repository_packs::tool_id.eq(tool));
    let packs = packs.select(repository_packs::name).load::<String>(connection)?.into_iter().collect();
    let cuts = repository_cuts::table.filter(repository_cuts::tool_id.eq(tool));
    let cuts = cuts.select(repository_cuts::commit_id).load::<String>(connection)?;
    let cuts = cuts.iter().map(|commit| parse("repository_cuts.commit_id", commit));
    let (refs, cuts) = (refs.collect::<Result<_, StoreError>>()?, cuts.collect::<Result<_, _>>()?);
    Ok(Some(RepositoryState { at, head, refs, packs, cuts }))
}

impl Store {
    /// Makes an empty repository; one that is there stays.
    pub async fn create_repository(&self, tool: &ToolName) -> Result<(), StoreError> {
        let tool = tool.clone();
        let work = move |writer: &mut AnyConnection| {
            let id = tool_id(writer, &tool)?;
            if repositories::table.find(id).count().get_result::<i64>(writer)? == 0 {
                let row = (
                    repositories::tool_id.eq(id),
                    repositories::version.eq(1),
                    repositories::head.eq(FIRST_HEAD),
                );
                diesel::insert_into(repositories::table).values(row).execute(writer)?;
            }
            Ok(())
        };
        self.db.write("make a repository", work).await
    }

    /// Notes that a tool's removal has begun, and removes what is in its repository: nothing comes into it any more, and it goes with
    /// its tool. A repository that is no row becomes one for that.
    pub async fn leave_repository(&self, tool: &ToolName) -> Result<(), StoreError> {
        let tool = tool.clone();
        let work = move |writer: &mut AnyConnection| {
            let id = tool_id(writer, &tool)?;
            let (row, version) = (repositories::table.find(id), repositories::version.eq(LEAVING));
            if diesel::update(row).set(version).execute(writer)? == 0 {
                let row = (repositories::tool_id.eq(id), version, repositories::head.eq(FIRST_HEAD));
                diesel::insert_into(repositories::table).values(row).execute(writer)?;
            }
            let (refs, packs) = (repository_refs::tool_id.eq(id), repository_packs::tool_id.eq(id));
            diesel::delete(repository_refs::table.filter(refs)).execute(writer)?;
            diesel::delete(repository_packs::table.filter(packs)).execute(writer)?;
            Ok(())
        };
        self.db.write("remove a repository", work).await
    }

    /// The tools whose removal has begun.
    pub async fn leaving_tools(&self) -> Result<Vec<ToolName>, StoreError> {
        let work = |reader: &mut AnyConnection| {
            let leaving = tools::table.inner_join(repositories::table);
            let leaving = leaving.filter(repositories::version.eq(LEAVING)).order(tools::name);
            let names = leaving.select(tools::name).load::<String>(reader)?;
            Ok(names.iter().map(|name| parse("tools.name", name)).collect::<Result<_, _>>()?)
        };
        self.db.read("list the tools that are removed", work).await
    }

    /// Which state a tool's repository is in; `None` where it has none.
    pub async fn repository_version(&self, tool: &ToolName) -> Result<Option<RepositoryVersion>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let id = tool_id(reader, &tool)?;
            version(reader, id)
        };
        self.db.read("look at a repository", work).await
    }

    /// All that there is of a tool's repository.
    pub async fn repository(&self, tool: &ToolName) -> Result<Option<RepositoryState>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let id = tool_id(reader, &tool)?;
            read(reader, id)
        };
        self.db.read("read a repository", work).await
    }

    /// The packs of all repositories, each with the number of its tool, as of one moment.
    pub async fn all_packs(&self) -> Result<Vec<(i64, String)>, StoreError> {
        let work = |reader: &mut AnyConnection| {
            let columns = (repository_packs::tool_id, repository_packs::name);
            Ok(repository_packs::table.select(columns).load(reader)?)
        };
        self.db.read("list packs", work).await
    }

    /// Where a ref stands.
    pub async fn repository_ref(&self, tool: &ToolName, name: &str) -> Result<Option<CommitId>, StoreError> {
        let (tool, name) = (tool.clone(), name.to_owned());
        let work = move |reader: &mut AnyConnection| {
            let id = tool_id(reader, &tool)?;
            stands(reader, id, &name)
        };
        self.db.read("read a ref", work).await
    }

    /// A ref that git cannot hold beside one of this name.
    pub async fn ref_in_the_way(&self, tool: &ToolName, name: &str) -> Result<Option<String>, StoreError> {
        let (tool, name) = (tool.clone(), name.to_owned());
        let work = move |reader: &mut AnyConnection| {
            let id = tool_id(reader, &tool)?;
            in_the_way(reader, id, &name)
        };
        self.db.read("read refs", work).await
    }

    /// Adds packs whose objects are there, and cuts of the history in them.
    pub async fn add_packs(
        &self,
        tool: &ToolName,
        packs: Vec<String>,
        cuts: Vec<CommitId>,
    ) -> Result<(), StoreError> {
        let tool = tool.clone();
        let work = move |writer: &mut AnyConnection| {
            let id = changed(writer, &tool)?;
            add_packs(writer, id, &packs)?;
            add_cuts(writer, id, &cuts)
        };
        self.db.write("add packs", work).await
    }

    /// Takes a repository in that one server had to itself: its packs, cuts and refs. Where a ref stands already it stays, but the
    /// deploy ref goes where what is live is.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it is of another tool of this name.
    pub async fn take_in_repository(&self, tool: &ToolName, own: RepositoryState) -> Result<(), StoreError> {
        let tool = tool.clone();
        let work = move |writer: &mut AnyConnection| {
            let id = changed(writer, &tool)?;
            if id != own.at.id {
                let what = format!("{tool} is another tool than its repository is of");
                return Err(StoreError::Conflict { what }.into());
            }
            add_packs(writer, id, &own.packs)?;
            add_cuts(writer, id, &own.cuts)?;
            let live = tools::table.find(id).select((tools::deployed_ref, tools::deployed_commit));
            let live = live.first::<(Option<String>, Option<String>)>(writer)?;
            for (name, commit) in &own.refs {
                let is_live =
                    (Some(name.as_str()), Some(commit.as_str())) == (live.0.as_deref(), live.1.as_deref());
                let is_new = stands(writer, id, name)?.is_none() && in_the_way(writer, id, name)?.is_none();
                if is_live || is_new {
                    put_ref(writer, id, name, commit)?;
                }
            }
            choose_head(writer, id, &own.head)
        };
        self.db.write("take a repository in", work).await
    }

    /// Puts one pack in the place of others that hold nothing more.
    pub async fn replace_packs(
        &self,
        tool: &ToolName,
        old: Vec<String>,
        new: Vec<String>,
    ) -> Result<(), StoreError> {
        let tool = tool.clone();
        let work = move |writer: &mut AnyConnection| {
            let id = changed(writer, &tool)?;
            let mine = repository_packs::table.filter(repository_packs::tool_id.eq(id));
            diesel::delete(mine.filter(repository_packs::name.eq_any(&old))).execute(writer)?;
            add_packs(writer, id, &new)
        };
        self.db.write("replace packs", work).await
    }

    /// Makes a ref stand there, wherever it stood: for names that are nobody's but the platform's.
    pub async fn set_ref(&self, tool: &ToolName, name: &str, commit: &CommitId) -> Result<(), StoreError> {
        let (tool, name, commit) = (tool.clone(), name.to_owned(), commit.clone());
        let work = move |writer: &mut AnyConnection| {
            let id = changed(writer, &tool)?;
            put_ref(writer, id, &name, &commit)
        };
        self.db.write("set a ref", work).await
    }

    /// Removes refs.
    pub async fn remove_refs(&self, tool: &ToolName, names: Vec<String>) -> Result<(), StoreError> {
        let tool = tool.clone();
        let work = move |writer: &mut AnyConnection| {
            let id = changed(writer, &tool)?;
            let mine = repository_refs::table.filter(repository_refs::tool_id.eq(id));
            diesel::delete(mine.filter(repository_refs::name.eq_any(&names))).execute(writer)?;
            Ok(())
        };
        self.db.write("remove refs", work).await
    }
}
