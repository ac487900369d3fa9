//! Instances: what was started, so that a restart finds it again.

use crate::codec::{micros, narrow, parse, time, words};
use crate::schema::{instances, tools};
use crate::tools::tool_id;
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::{InstanceId, ReleaseNumber, ToolName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Started, not yet ready.
    Starting,
    /// Takes traffic, or works.
    Ready,
    /// Takes no new traffic and ends.
    Draining,
    /// Ended by itself.
    Crashed,
}

/// An instance's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    /// The instance.
    pub id: InstanceId,
    /// The sandbox it runs in.
    pub sandbox: String,
    /// Where it stands.
    pub state: InstanceState,
    /// The port it listens on in its own network.
    pub port: u16,
    /// When it was started.
    pub started_at: Timestamp,
}

words!(InstanceState {
    Starting = "starting",
    Ready = "ready",
    Draining = "draining",
    Crashed = "crashed",
});

#[derive(Queryable, Selectable)]
#[diesel(table_name = instances)]
struct Row {
    release_number: i64,
    process: String,
    place: i64,
    attempt: i64,
    sandbox: String,
    state: String,
    port: i32,
    started_at: i64,
}

impl Row {
    fn read(self, tool: &str) -> Result<InstanceRow, StoreError> {
        let id = InstanceId {
            tool: parse("instances.tool_id", tool)?,
            release: ReleaseNumber(narrow("instances.release_number", self.release_number)?),
            process: parse("instances.process", &self.process)?,
            index: narrow("instances.place", self.place)?,
            attempt: narrow("instances.attempt", self.attempt)?,
        };
        Ok(InstanceRow {
            id,
            sandbox: self.sandbox,
            state: parse("instances.state", &self.state)?,
            port: narrow("instances.port", self.port.into())?,
            started_at: time("instances.started_at", self.started_at)?,
        })
    }
}

impl Store {
    /// Writes an instance's row, new or changed.
    pub async fn put_instance(&self, row: &InstanceRow) -> Result<(), StoreError> {
        let row = row.clone();
        let work = move |writer: &mut SqliteConnection| {
            let values = (
                instances::id.eq(row.id.to_string()),
                instances::tool_id.eq(tool_id(writer, &row.id.tool)?),
                instances::release_number.eq(i64::from(row.id.release.0)),
                instances::process.eq(row.id.process.as_str()),
                instances::place.eq(i64::from(row.id.index)),
                instances::attempt.eq(i64::from(row.id.attempt)),
                instances::sandbox.eq(&row.sandbox),
                instances::state.eq(row.state.word()),
                instances::port.eq(i32::from(row.port)),
                instances::started_at.eq(micros(row.started_at)),
            );
            diesel::replace_into(instances::table).values(values).execute(writer)?;
            Ok(())
        };
        self.db.write("write an instance", work).await
    }

    /// Removes an instance's row; missing is fine.
    pub async fn remove_instance(&self, id: &InstanceId) -> Result<(), StoreError> {
        let id = id.to_string();
        let work = move |writer: &mut SqliteConnection| {
            diesel::delete(instances::table.find(id)).execute(writer)?;
            Ok(())
        };
        self.db.write("remove an instance", work).await
    }

    /// A tool's instances, or everybody's, by name.
    pub async fn instances(&self, tool: Option<&ToolName>) -> Result<Vec<InstanceRow>, StoreError> {
        let tool = tool.cloned();
        let work = move |reader: &mut SqliteConnection| {
            let all = instances::table.inner_join(tools::table).order(instances::id);
            let query = all.select((Row::as_select(), tools::name)).into_boxed();
            let query = match tool {
                Some(tool) => query.filter(tools::name.eq(tool.to_string())),
                None => query,
            };
            let rows = query.load::<(Row, String)>(reader)?;
            Ok(rows.into_iter().map(|(row, tool)| row.read(&tool)).collect::<Result<_, _>>()?)
        };
        self.db.read("list instances", work).await
    }
}
