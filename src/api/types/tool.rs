//! Tools and their maintainers.

use hythe_model::{MaintainerName, ReleaseNumber, ToolName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a tool is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ToolState {
    /// An instance has crashed and is started again with back-off.
    Crashing,
    /// Instances are starting.
    Starting,
    /// Every instance of its formation runs.
    Healthy,
    /// It is scaled to none.
    Stopped,
    /// Nothing was deployed yet.
    Empty,
}

impl ToolState {
    /// The word shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Crashing => "crashing",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Stopped => "stopped",
            Self::Empty => "empty",
        }
    }
}

/// A tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tool {
    /// Its name.
    #[schema(value_type = String, example = "weather")]
    pub name: ToolName,
    /// How it is.
    pub state: ToolState,
    /// Why it is not healthy, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The release that serves.
    #[schema(value_type = Option<String>, example = "v14")]
    pub release: Option<ReleaseNumber>,
    /// Since when it is in this state, where something is deployed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Where it answers.
    pub url: String,
    /// The git remote to push to.
    pub git: String,
    /// Its settings.
    pub settings: ToolSettings,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// What a tool's maintainers choose for it; what is absent is the platform's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolSettings {
    /// Branches whose push deploys, without `refs/heads/`.
    pub deploy_branches: Vec<String>,
    /// Path asked by HTTP for readiness; a TCP connection is enough where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
    /// How long a release may take to get ready, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_seconds: Option<u32>,
    /// How long an instance may take to stop, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u32>,
    /// Memory of an instance in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Whether an instance's root file system is read-only.
    #[serde(default)]
    pub read_only_root: bool,
}

/// A tool to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTool {
    /// Its name: a DNS label of at most 40 characters.
    #[schema(value_type = String, example = "weather")]
    pub name: ToolName,
}

/// What a maintainer may do in a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything but deleting the tool and changing its maintainers.
    Member,
    /// Everything.
    Owner,
}

impl Role {
    /// The word shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Owner => "owner",
        }
    }
}

/// A person or machine account with rights on a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Maintainer {
    /// Their name.
    #[schema(value_type = String, example = "alice")]
    pub name: MaintainerName,
    /// As what.
    pub role: Role,
}

/// What a maintainer is to be in a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMaintainer {
    /// As what.
    pub role: Role,
}
