//! Tools, their settings and their members.

use crate::{Store, StoreError};
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

/// What the maintainers of a tool choose by API; the rest lies in its repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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

impl Store {
    /// Makes a tool with default settings and, where given, its first owner.
    pub async fn create_tool(
        &self,
        name: &ToolName,
        owner: Option<&MaintainerName>,
    ) -> Result<Tool, StoreError> {
        todo!("{name} {owner:?}")
    }

    /// Removes a tool and every row of it.
    pub async fn delete_tool(&self, name: &ToolName) -> Result<(), StoreError> {
        todo!("{name}")
    }

    /// One tool.
    pub async fn tool(&self, name: &ToolName) -> Result<Option<Tool>, StoreError> {
        todo!("{name}")
    }

    /// All tools, by name.
    pub async fn tools(&self) -> Result<Vec<Tool>, StoreError> {
        todo!()
    }

    /// The tools that a maintainer is a member of, by name.
    pub async fn tools_of(&self, maintainer: &MaintainerName) -> Result<Vec<Tool>, StoreError> {
        todo!("{maintainer}")
    }

    /// Replaces a tool's settings.
    pub async fn set_tool_settings(
        &self,
        name: &ToolName,
        settings: &ToolSettings,
    ) -> Result<(), StoreError> {
        todo!("{name} {settings:?}")
    }

    /// A tool's members, by name.
    pub async fn members(&self, tool: &ToolName) -> Result<Vec<Member>, StoreError> {
        todo!("{tool}")
    }

    /// A maintainer's role in a tool; `None` for a stranger and for a tool that does not exist.
    pub async fn role(
        &self,
        tool: &ToolName,
        maintainer: &MaintainerName,
    ) -> Result<Option<Role>, StoreError> {
        todo!("{tool} {maintainer}")
    }

    /// Adds a member or changes the role of one.
    pub async fn set_member(
        &self,
        tool: &ToolName,
        maintainer: &MaintainerName,
        role: Role,
    ) -> Result<(), StoreError> {
        todo!("{tool} {maintainer} {role:?}")
    }

    /// Removes a member.
    pub async fn remove_member(
        &self,
        tool: &ToolName,
        maintainer: &MaintainerName,
    ) -> Result<(), StoreError> {
        todo!("{tool} {maintainer}")
    }
}
