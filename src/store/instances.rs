//! Instances: what was started, so that a restart finds it again.

use crate::{Store, StoreError};
use hythe_model::{InstanceId, ToolName};
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

impl Store {
    /// Writes an instance's row, new or changed.
    pub async fn put_instance(&self, row: &InstanceRow) -> Result<(), StoreError> {
        todo!("{row:?}")
    }

    /// Removes an instance's row; missing is fine.
    pub async fn remove_instance(&self, id: &InstanceId) -> Result<(), StoreError> {
        todo!("{id}")
    }

    /// A tool's instances, or everybody's, by name.
    pub async fn instances(&self, tool: Option<&ToolName>) -> Result<Vec<InstanceRow>, StoreError> {
        todo!("{tool:?}")
    }
}
