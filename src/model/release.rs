//! Releases: immutable, numbered triples of image, config and formation.

use crate::{Actor, BuildId, CommitId, Digest, Fault, ProcessType, Project, ReleaseNumber, ToolName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many instances of each process type a release runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Formation(pub BTreeMap<ProcessType, u32>);

impl Formation {
    /// Instances that a process type may have.
    pub const MOST: u32 = 100;
}

/// A process that an image can start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its type.
    pub kind: ProcessType,
    /// Its command, for people to read.
    pub command: String,
}

/// What made a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ReleaseCause {
    /// A build of this commit.
    Code {
        /// The commit built.
        commit: CommitId,
        /// Its first line.
        subject: String,
        /// The build.
        build: BuildId,
    },
    /// Config keys set or unset.
    Config {
        /// Their names, never their values.
        keys: Vec<String>,
    },
    /// A change of the formation.
    Scale {
        /// The new counts that were asked for.
        formation: Formation,
    },
    /// The image, config and formation of an earlier release.
    Rollback {
        /// That release.
        to: ReleaseNumber,
    },
    /// The same triple again.
    Restart,
}

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseState {
    /// Written, not yet ready.
    RollingOut,
    /// Serving; one a tool at most.
    Live,
    /// Served before.
    Superseded,
    /// Never became ready.
    Failed,
}

/// One release of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its tool.
    pub tool: ToolName,
    /// Its number.
    pub number: ReleaseNumber,
    /// Digest of the image's manifest, in the tool's repository of the registry.
    pub image: Digest,
    /// The commit its image was built from; the deploy ref names it while the release is live.
    pub commit: CommitId,
    /// The processes the image offers.
    pub processes: Vec<Process>,
    /// What the repository says of how they run.
    pub project: Project,
    /// Number of the config's version.
    pub config: i64,
    /// How many instances of what.
    pub formation: Formation,
    /// What made it.
    pub cause: ReleaseCause,
    /// A note of its maker.
    pub message: Option<String>,
    /// Who made it.
    pub actor: Actor,
    /// Where it stands.
    pub state: ReleaseState,
    /// Why it failed, where it did.
    pub fault: Option<Fault>,
    /// When it was written.
    pub created_at: jiff::Timestamp,
}
