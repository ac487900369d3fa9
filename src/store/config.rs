//! Config versions: immutable numbered sets of sealed values.

use crate::codec::{json, now, parse, words};
use crate::connection::AnyConnection;
use crate::db::Outcome;
use crate::schema::{config_values, config_versions, tools};
use crate::tools::tool_id;
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::{Actor, ToolName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a value is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigScope {
    /// While building only.
    Build,
    /// While running only.
    Run,
    /// While building and running.
    Both,
}

impl ConfigScope {
    /// Whether builds see it.
    pub fn in_build(self) -> bool {
        matches!(self, Self::Build | Self::Both)
    }

    /// Whether instances see it.
    pub fn in_run(self) -> bool {
        matches!(self, Self::Run | Self::Both)
    }
}

/// One key of a config version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// Its name.
    pub key: String,
    /// Its value, sealed by the auth room's key ring.
    pub sealed: Vec<u8>,
    /// Where it is seen.
    pub scope: ConfigScope,
}

/// One change from a version to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigEdit {
    /// Sets a key.
    Set(ConfigValue),
    /// Removes a key; a fault where it is not set.
    Unset(String),
}

/// A sealed value of any version, for sealing it again under a new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// Its tool.
    pub tool: ToolName,
    /// Its version.
    pub version: i64,
    /// Its name.
    pub key: String,
    /// Its value, sealed.
    pub sealed: Vec<u8>,
}

words!(ConfigScope { Build = "build", Run = "run", Both = "both" });

/// Values by key: sealed bytes and the scope's word.
type Values = BTreeMap<String, (Vec<u8>, ConfigScope)>;

fn values(connection: &mut AnyConnection, tool: &ToolName, id: i64, version: i64) -> Outcome<Values> {
    if version == 0 {
        return Ok(Values::new());
    }
    if config_versions::table.find((id, version)).count().get_result::<i64>(connection)? == 0 {
        return Err(StoreError::Absent { what: format!("config version {version} of {tool}") }.into());
    }
    let mine =
        config_values::table.filter(config_values::tool_id.eq(id)).filter(config_values::version.eq(version));
    let columns = (config_values::key, config_values::sealed, config_values::scope);
    let rows = mine.select(columns).load::<(String, Vec<u8>, String)>(connection)?;
    let read = |(key, sealed, scope): (String, Vec<u8>, String)| {
        Ok::<_, StoreError>((key, (sealed, parse("config_values.scope", &scope)?)))
    };
    Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
}

fn edit(mut values: Values, edits: &[ConfigEdit]) -> Result<Values, StoreError> {
    for edit in edits {
        match edit {
            ConfigEdit::Set(value) => {
                values.insert(value.key.clone(), (value.sealed.clone(), value.scope));
            }
            ConfigEdit::Unset(key) => {
                let removed = values.remove(key);
                removed.ok_or_else(|| StoreError::Absent { what: format!("config key {key}") })?;
            }
        }
    }
    Ok(values)
}

fn insert(writer: &mut AnyConnection, id: i64, values: &Values, actor: &Actor) -> Outcome<i64> {
    let next = diesel::update(tools::table.find(id)).set(tools::next_config.eq(tools::next_config + 1));
    let version = next.returning(tools::next_config - 1).get_result::<i64>(writer)?;
    let row = (
        config_versions::tool_id.eq(id),
        config_versions::number.eq(version),
        config_versions::actor.eq(json("config_versions.actor", actor)?),
        config_versions::created_at.eq(now()),
    );
    diesel::insert_into(config_versions::table).values(row).execute(writer)?;
    for (key, (sealed, scope)) in values {
        let row = (
            config_values::tool_id.eq(id),
            config_values::version.eq(version),
            config_values::key.eq(key),
            config_values::sealed.eq(sealed),
            config_values::scope.eq(scope.word()),
        );
        diesel::insert_into(config_values::table).values(row).execute(writer)?;
    }
    Ok(version)
}

impl Store {
    /// Writes the next version: `base` (0 is empty) with these changes; answers its number.
    pub async fn change_config(
        &self,
        tool: &ToolName,
        base: i64,
        edits: Vec<ConfigEdit>,
        actor: &Actor,
    ) -> Result<i64, StoreError> {
        let (tool, actor) = (tool.clone(), actor.clone());
        let work = move |writer: &mut AnyConnection| {
            let id = tool_id(writer, &tool)?;
            let changed = edit(values(writer, &tool, id, base)?, &edits)?;
            insert(writer, id, &changed, &actor)
        };
        self.db.write("change config", work).await
    }

    /// The values of one version, by key; version 0 is empty.
    pub async fn config(&self, tool: &ToolName, version: i64) -> Result<Vec<ConfigValue>, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let id = tool_id(reader, &tool)?;
            let found = values(reader, &tool, id, version)?;
            Ok(found.into_iter().map(|(key, (sealed, scope))| ConfigValue { key, sealed, scope }).collect())
        };
        self.db.read("read config", work).await
    }

    /// Number of the newest version; 0 where none was written.
    pub async fn latest_config(&self, tool: &ToolName) -> Result<i64, StoreError> {
        let tool = tool.clone();
        let work = move |reader: &mut AnyConnection| {
            let id = tool_id(reader, &tool)?;
            Ok(tools::table.find(id).select(tools::next_config - 1).first::<i64>(reader)?)
        };
        self.db.read("read config", work).await
    }

    /// Every sealed value of every version.
    pub async fn sealed_values(&self) -> Result<Vec<SealedValue>, StoreError> {
        let work = |reader: &mut AnyConnection| {
            let columns = (tools::name, config_values::version, config_values::key, config_values::sealed);
            let query = config_values::table.inner_join(tools::table).select(columns);
            let rows = query.load::<(String, i64, String, Vec<u8>)>(reader)?;
            let read = |(tool, version, key, sealed): (String, i64, String, Vec<u8>)| {
                Ok::<_, StoreError>(SealedValue { tool: parse("tools.name", &tool)?, version, key, sealed })
            };
            Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
        };
        self.db.read("read sealed values", work).await
    }

    /// Replaces the sealed bytes of values, all or none: the same plain text under another key. Values that are gone
    /// meanwhile are passed over.
    pub async fn reseal(&self, values: Vec<SealedValue>) -> Result<(), StoreError> {
        let work = move |writer: &mut AnyConnection| {
            for value in &values {
                let tool = tools::table.filter(tools::name.eq(value.tool.as_str())).select(tools::id);
                let Some(id) = tool.first::<i64>(writer).optional()? else { continue };
                let row = config_values::table.find((id, value.version, &value.key));
                diesel::update(row).set(config_values::sealed.eq(&value.sealed)).execute(writer)?;
            }
            Ok(())
        };
        self.db.write("seal values again", work).await
    }
}
