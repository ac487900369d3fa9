//! Builds and their logs.

use hythe_model::{Actor, BuildEvent, BuildId, CommitId, Fault, ReleaseNumber, ToolName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BuildState {
    /// It waits for its turn.
    Queued,
    /// It runs.
    Running,
    /// Its release is live, or was.
    Succeeded,
    /// It did not get there.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// A newer push took its place.
    Superseded,
}

impl BuildState {
    /// The word shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// Whether nothing follows.
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Build {
    /// Its number, unique on the platform.
    #[schema(value_type = i64, example = 212)]
    pub id: BuildId,
    /// Its tool.
    #[schema(value_type = String, example = "weather")]
    pub tool: ToolName,
    /// Where it stands.
    pub state: BuildState,
    /// Why it was asked for: `push`, `detached` or `redeploy`.
    pub cause: String,
    /// Who asked.
    #[schema(value_type = super::ActorSchema)]
    pub actor: Actor,
    /// The branch that follows once the release is live.
    #[schema(example = "main")]
    pub branch: String,
    /// The commit built.
    #[schema(value_type = String)]
    pub commit: CommitId,
    /// Its first line.
    pub subject: String,
    /// The release made of it.
    #[schema(value_type = Option<String>, example = "v14")]
    pub release: Option<ReleaseNumber>,
    /// The build that took its place.
    #[schema(value_type = Option<i64>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<BuildId>,
    /// Why it failed, where it did.
    #[schema(value_type = Option<super::ErrorBody>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it began to run.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// One line of a build's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuildRecord {
    /// Its place in the log, from 1: pass it plus one as `from` to read on.
    pub position: u64,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened.
    #[schema(value_type = super::BuildEventSchema)]
    pub event: BuildEvent,
}

/// How to build the live commit again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeploy {
    /// Without the layers of earlier builds.
    #[serde(default)]
    pub no_cache: bool,
}
