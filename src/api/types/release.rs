//! Releases, what runs of them, and the verbs that make one without a build.

use hythe_model::{
    Actor, CommitId, Digest, Fault, Formation, ProcessType, ReleaseCause, ReleaseNumber, ReleaseState,
    ToolName,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// Its tool.
    #[schema(value_type = String, example = "weather")]
    pub tool: ToolName,
    /// Its number within the tool.
    #[schema(value_type = String, example = "v14")]
    pub number: ReleaseNumber,
    /// Digest of its image.
    #[schema(value_type = String)]
    pub image: Digest,
    /// The image as nodes pull it, as in `registry.example.org/tools/weather@sha256:...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The commit that its image was built from.
    #[schema(value_type = String)]
    pub commit: CommitId,
    /// Commands of the image's process types.
    pub processes: BTreeMap<String, String>,
    /// Number of the config's version.
    pub config: i64,
    /// How many instances of what.
    #[schema(value_type = BTreeMap<String, u32>)]
    pub formation: Formation,
    /// What made it.
    #[schema(value_type = super::ReleaseCauseSchema)]
    pub cause: ReleaseCause,
    /// A note of its maker.
    pub message: Option<String>,
    /// Who made it.
    #[schema(value_type = super::ActorSchema)]
    pub actor: Actor,
    /// Where it stands: `rolling-out`, `live`, `superseded` or `failed`.
    #[schema(value_type = String, example = "live")]
    pub state: ReleaseState,
    /// Why it failed, where it did.
    #[schema(value_type = Option<super::ErrorBody>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// An earlier release to go back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The release.
    #[schema(value_type = String, example = "v13")]
    pub to: ReleaseNumber,
}

/// Counts of process types to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// The new counts; types that are absent stay.
    #[schema(value_type = BTreeMap<String, u32>)]
    pub formation: Formation,
}

/// What a verb that takes long says while it works: any number of `waiting`, then one of the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Progress {
    /// It is not there yet.
    Waiting {
        /// Milliseconds since it began.
        millis: u64,
    },
    /// The end: it is done.
    Done {
        /// The release that is live now; absent where none was made: nothing is deployed yet, and the change is kept for
        /// the first release, or the tool was deleted.
        release: Option<Box<Release>>,
        /// Milliseconds it took.
        millis: u64,
    },
    /// The end: nothing has changed.
    Failed {
        /// Why.
        #[schema(value_type = super::ErrorBody)]
        fault: Fault,
    },
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// It does not listen yet.
    Starting,
    /// It runs and, where it serves traffic, listens.
    Ready,
    /// It finishes its requests or shuts down.
    Stopping,
    /// It has ended by itself and waits for its next start.
    Crashed,
}

impl InstanceState {
    /// The word shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Crashed => "crashed",
        }
    }
}

/// One running copy of a process type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// Its name, as in `weather.v14.web.1`.
    pub id: String,
    /// Its process type.
    #[schema(value_type = String, example = "web")]
    pub process: ProcessType,
    /// Its place in the formation: a number from 1, or in a cluster the end of its pod's name.
    #[schema(example = "1")]
    pub place: String,
    /// The release it runs.
    #[schema(value_type = String, example = "v14")]
    pub release: ReleaseNumber,
    /// How it is.
    pub state: InstanceState,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// How often it was started again after a crash.
    pub restarts: u32,
    /// When a crashed one is started again.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// How the last run of this place ended, as in `exit 137, out of memory (128 MB)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// Whether it belongs to the part of a release that takes traffic first and is watched, before the release is live.
    #[serde(default)]
    pub canary: bool,
}
