//! Tools, their settings and their members.

use crate::codec::{from_json, json, now, parse, time, words};
use crate::connection::AnyConnection;
use crate::db::{Failure, Outcome};
use crate::schema::{members, tools};
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::{CommitId, MaintainerName, ToolName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A tool's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: ToolName,
    /// What its maintainers chose.
    pub settings: ToolSettings,
    /// The commit that is live and the ref that must name it; `None` before the first release.
    pub deployed: Option<DeployRef>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What the maintainers of a tool choose by API; the rest lies in its repository. Fields that are not known here are a
/// newer program's and passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolSettings {
    /// Branches whose push deploys, without `refs/heads/`.
    pub deploy_branches: Vec<String>,
    /// Path asked by HTTP for readiness; a TCP connection is enough where `None`.
    pub health_path: Option<String>,
    /// How long a release may take to get ready, in seconds; the platform's default where `None`.
    pub readiness_seconds: Option<u32>,
    /// How long an instance may take to stop, in seconds; the platform's default where `None`.
    pub grace_seconds: Option<u32>,
    /// Memory of an instance in bytes; the platform's default where `None`.
    pub memory_bytes: Option<u64>,
    /// Whether an instance's root file system is read-only.
    pub read_only_root: bool,
}

impl Default for ToolSettings {
    fn default() -> Self {
        Self {
            deploy_branches: vec!["main".to_owned(), "master".to_owned()],
            health_path: None,
            readiness_seconds: None,
            grace_seconds: None,
            memory_bytes: None,
            read_only_root: false,
        }
    }
}

/// A ref and the commit it must name. Written with the release, before the ref itself moves, so that a crash between the
/// two is mended at the next start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployRef {
    /// The full ref, as in `refs/heads/main`.
    pub reference: String,
    /// The live commit.
    pub commit: CommitId,
}

/// What a member of a tool may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything but deleting the tool and changing its members.
    Member,
    /// Everything.
    Owner,
}

/// A maintainer's standing in a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub maintainer: MaintainerName,
    /// As what.
    pub role: Role,
}

words!(Role { Member = "member", Owner = "owner" });

#[derive(Queryable, Selectable)]
#[diesel(table_name = tools)]
struct Row {
    name: String,
    settings: String,
    deployed_ref: Option<String>,
    deployed_commit: Option<String>,
    created_at: i64,
}

impl Row {
    fn read(self) -> Result<Tool, StoreError> {
        let deployed = self.deployed_ref.zip(self.deployed_commit);
        let deployed = deployed.map(|(reference, commit)| {
            Ok(DeployRef { reference, commit: parse("tools.deployed_commit", &commit)? })
        });
        Ok(Tool {
            name: parse("tools.name", &self.name)?,
            settings: from_json("tools.settings", &self.settings)?,
            deployed: deployed.transpose()?,
            created_at: time("tools.created_at", self.created_at)?,
        })
    }
}

/// A tool's number, or its absence as a failure.
pub(crate) fn tool_id(connection: &mut AnyConnection, name: &ToolName) -> Outcome<i64> {
    let id =
        tools::table.filter(tools::name.eq(name.as_str())).select(tools::id).first(connection).optional()?;
    id.ok_or_else(|| absent(name))
}

fn absent(name: &ToolName) -> Failure {
    StoreError::Absent { what: format!("tool {name}") }.into()
}

fn one(connection: &mut AnyConnection, name: &ToolName) -> Outcome<Option<Tool>> {
    let query = tools::table.filter(tools::name.eq(name.as_str())).select(Row::as_select());
    Ok(query.first(connection).optional()?.map(Row::read).transpose()?)
}

fn put_member(writer: &mut AnyConnection, tool: i64, maintainer: &str, role: Role) -> Outcome<()> {
    let known = crate::schema::maintainers::table.find(maintainer).count().get_result::<i64>(writer)?;
    if known == 0 {
        return Err(StoreError::Absent { what: format!("maintainer {maintainer}") }.into());
    }
    let change = members::role.eq(role.word());
    if diesel::update(members::table.find((tool, maintainer))).set(change).execute(writer)? == 0 {
        let row = (members::tool_id.eq(tool), members::maintainer.eq(maintainer), change);
        diesel::insert_into(members::table).values(row).execute(writer)?;
    }
    Ok(())
}

impl Store {
    /// Makes a tool with default settings and, where given, its first owner.
    pub async fn create_tool(
        &self,
        name: &ToolName,
        owner: Option<&MaintainerName>,
    ) -> Result<Tool, StoreError> {
        let (name, owner) = (name.clone(), owner.cloned());
        let work = move |writer: &mut AnyConnection| {
            let row = (
                tools::name.eq(name.as_str()),
                tools::settings.eq(json("tools.settings", &ToolSettings::default())?),
                tools::created_at.eq(now()),
            );
            let done = diesel::insert_into(tools::table).values(row).execute(writer);
            done.map_err(|error| Failure::exists(error, || format!("tool {name}")))?;
            if let Some(owner) = &owner {
                let id = tool_id(writer, &name)?;
                put_member(writer, id, owner.as_str(), Role::Owner)?;
            }
            one(writer, &name)?.ok_or_else(|| absent(&name))
        };
        self.db.write("make a tool", work).await
    }

    /// Removes a tool and every row of it.
    pub async fn delete_tool(&self, name: &ToolName) -> Result<(), StoreError> {
        let name = name.clone();
        let work = move |writer: &mut AnyConnection| {
            let removed =
                diesel::delete(tools::table.filter(tools::name.eq(name.as_str()))).execute(writer)?;
            if removed == 0 { Err(absent(&name)) } else { Ok(()) }
        };
        self.db.write("remove a tool", work).await
    }

    /// One tool.
    pub async fn tool(&self, name: &ToolName) -> Result<Option<Tool>, StoreError> {
        let name = name.clone();
        self.db.read("read a tool", move |reader| one(reader, &name)).await
    }

    /// All tools, by name.
    pub async fn tools(&self) -> Result<Vec<Tool>, StoreError> {
        let work = |reader: &mut AnyConnection| {
            let rows = tools::table.order(tools::name).select(Row::as_select()).load(reader)?;
            Ok(rows.into_iter().map(Row::read).collect::<Result<_, _>>()?)
        };
        self.db.read("list tools", work).await
    }

    /// What differs once a tool was made or removed: how many there are, and the number of the last one.
    pub async fn tools_mark(&self) -> Result<(i64, Option<i64>), StoreError> {
        let work = |reader: &mut AnyConnection| {
            let query = tools::table.select((diesel::dsl::count_star(), diesel::dsl::max(tools::id)));
            Ok(query.first(reader)?)
        };
        self.db.read("look whether there are other tools", work).await
    }

    /// The tools that a maintainer is a member of, by name.
    pub async fn tools_of(&self, maintainer: &MaintainerName) -> Result<Vec<Tool>, StoreError> {
        let maintainer = maintainer.to_string();
        let work = move |reader: &mut AnyConnection| {
            let mine = members::table.inner_join(tools::table).filter(members::maintainer.eq(&maintainer));
            let rows = mine.order(tools::name).select(Row::as_select()).load(reader)?;
            Ok(rows.into_iter().map(Row::read).collect::<Result<_, _>>()?)
        };
        self.db.read("list a maintainer's tools", work).await
    }

    /// Replaces a tool's settings.
    pub async fn set_tool_settings(
        &self,
        name: &ToolName,
        settings: &ToolSettings,
    ) -> Result<(), StoreError> {
        let (name, settings) = (name.clone(), settings.clone());
        let work = move |writer: &mut AnyConnection| {
            let row = tools::table.filter(tools::name.eq(name.as_str()));
            let change = tools::settings.eq(json("tools.settings", &settings)?);
            let changed = diesel::update(row).set(change).execute(writer)?;
            if changed == 0 { Err(absent(&name)) } else { Ok(()) }
        };
        self.db.write("change a tool's settings", work).await
    }

    /// A tool's members, by name.
    pub async fn members(&self, tool: &ToolName) -> Result<Vec<Member>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let id = tool_id(reader, &tool)?;
            let query = members::table.filter(members::tool_id.eq(id)).order(members::maintainer);
            let rows = query.select((members::maintainer, members::role)).load::<(String, String)>(reader)?;
            let read = |(maintainer, role): (String, String)| {
                let maintainer = parse("members.maintainer", &maintainer)?;
                Ok::<_, StoreError>(Member { maintainer, role: parse("members.role", &role)? })
            };
            Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
        };
        self.db.read("list members", work).await
    }

    /// A maintainer's role in a tool; `None` for a stranger and for a tool that does not exist.
    pub async fn role(
        &self,
        tool: &ToolName,
        maintainer: &MaintainerName,
    ) -> Result<Option<Role>, StoreError> {
        let (tool, maintainer) = (tool.to_string(), maintainer.to_string());
        let work = move |reader: &mut AnyConnection| {
            let rows = members::table.inner_join(tools::table).filter(tools::name.eq(&tool));
            let query = rows.filter(members::maintainer.eq(&maintainer)).select(members::role);
            let word = query.first::<String>(reader).optional()?;
            Ok(word.map(|word| parse("members.role", &word)).transpose()?)
        };
        self.db.read("read a member", work).await
    }

    /// Adds a member or changes the role of one.
    pub async fn set_member(
        &self,
        tool: &ToolName,
        maintainer: &MaintainerName,
        role: Role,
    ) -> Result<(), StoreError> {
        let (tool, maintainer) = (tool.clone(), maintainer.to_string());
        let work = move |writer: &mut AnyConnection| {
            let id = tool_id(writer, &tool)?;
            put_member(writer, id, &maintainer, role)
        };
        self.db.write("change a member", work).await
    }

    /// Removes a member.
    pub async fn remove_member(
        &self,
        tool: &ToolName,
        maintainer: &MaintainerName,
    ) -> Result<(), StoreError> {
        let (tool, maintainer) = (tool.clone(), maintainer.to_string());
        let work = move |writer: &mut AnyConnection| {
            let id = tool_id(writer, &tool)?;
            let removed = diesel::delete(members::table.find((id, &maintainer))).execute(writer)?;
            if removed == 0 {
                return Err(StoreError::Absent { what: format!("member {maintainer} of {tool}") }.into());
            }
            Ok(())
        };
        self.db.write("remove a member", work).await
    }
}
