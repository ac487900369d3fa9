//! What a tool's repository says of how it runs: the table `[hythe]` of its `project.toml`, checked.
//!
//! It travels with the source into the release and is as immutable as the image. How the file is written is the source
//! room's; what the platform makes of it is the runtime's.

mod place;
mod schedule;

pub use place::{APPLICATION, FilePlace, PlaceError};
pub use schedule::{Schedule, ScheduleError};

use crate::units::{Cores, Size, Span};
use crate::{JobName, MountName, ProcessType};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The settings of a repository. Fields that are not known here are a newer program's and passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Project {
    /// What runs once before a release takes traffic.
    pub release: Option<ReleaseCommand>,
    /// How processes run, by type.
    pub processes: BTreeMap<ProcessType, ProcessWishes>,
    /// What runs by the clock.
    pub cron: BTreeMap<JobName, CronJob>,
    /// A first part of the instances that has to do well before the rest follows.
    pub canary: Option<Canary>,
    /// Whether the root file system of every process is read-only.
    pub read_only_root: Option<bool>,
    /// Mounts of the platform's that it reads.
    pub mounts: BTreeSet<MountName>,
    /// Config keys whose values are files and not variables, by their place.
    pub files: BTreeMap<FilePlace, String>,
}

impl Project {
    /// Nothing said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A command as people write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a command is a text, or a list of a program and its arguments")]
pub enum CommandLine {
    /// One text for a shell, or the name of a process type alone.
    Text(String),
    /// A program and its arguments, taken as they are.
    Words(Vec<String>),
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Words(words) => f.write_str(&words.join(" ")),
        }
    }
}

/// What runs once before a release takes traffic, as a migration of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCommand {
    /// What runs.
    pub command: CommandLine,
    /// How long it may take.
    pub timeout: Span,
}

/// What a process asks for; the platform's own limits are above it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessWishes {
    /// Memory of one instance.
    pub memory: Option<Size>,
    /// CPU of one instance.
    pub cpu: Option<Cores>,
    /// How long it may take to stop after SIGTERM.
    pub grace: Option<Span>,
    /// When an instance of `web` counts as ready.
    pub readiness: Option<ReadinessWish>,
    /// When a ready instance of `web` is started anew.
    pub liveness: Option<Liveness>,
    /// Instances by load, in a cluster.
    pub scale: Option<ScaleRange>,
}

/// When an instance counts as ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadinessWish {
    /// The path that must answer with a status of 200 to 399; a TCP connection is enough where there is none.
    pub path: Option<String>,
    /// How long it may take until it is ready.
    pub timeout: Option<Span>,
}

/// When a ready instance is taken for dead and started anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Liveness {
    /// The path that must answer with a status of 200 to 399; a TCP connection is enough where there is none.
    pub path: Option<String>,
    /// Time between two looks.
    pub every: Span,
    /// So many looks in a row must fail.
    pub failures: u32,
}

/// Instances by load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleRange {
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
    /// The part of their promised CPU, in percent, that instances are to use on average.
    pub cpu: u32,
}

/// What runs by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronJob {
    /// When, in UTC.
    pub schedule: Schedule,
    /// What.
    pub command: CommandLine,
    /// How long one run may take.
    pub timeout: Span,
    /// Whether a run begins while the one before it goes on; else it is left out.
    pub overlap: bool,
}

/// A first part of the instances of `web`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// How many.
    pub part: Part,
    /// How long they must do well before the rest follows.
    pub pause: Span,
    /// Of a hundred of their answers so many may be server errors.
    pub errors: u32,
}

/// A part of a number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// So many.
    Count(u32),
    /// So many of a hundred, rounded up.
    Percent(u32),
}

impl Part {
    /// The part of this many: at least one, never more than there are.
    pub fn of(self, all: u32) -> u32 {
        let part = match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                (u64::from(all) * u64::from(percent)).div_ceil(100).try_into().unwrap_or(all)
            }
        };
        part.clamp(1, all.max(1)).min(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_at_least_one_and_never_more_than_all() {
        let parts = |part: Part| [0, 1, 3, 10, 64].map(|all| part.of(all));
        assert_eq!(parts(Part::Count(2)), [0, 1, 2, 2, 2]);
        assert_eq!(parts(Part::Percent(25)), [0, 1, 1, 3, 16]);
        assert_eq!(parts(Part::Percent(100)), [0, 1, 3, 10, 64]);
    }

    #[test]
    fn a_newer_programs_fields_are_passed_over() {
        let text = r#"{"read_only_root":true,"mood":"good","processes":{"web":{"cpu":0.5,"colour":1}}}"#;
        let project: Project = serde_json::from_str(text).unwrap();
        assert_eq!(project.read_only_root, Some(true));
        assert_eq!(project.processes[&ProcessType::web()].cpu, Some(Cores(500)));
        let again = serde_json::to_string(&project).unwrap();
        assert_eq!(serde_json::from_str::<Project>(&again).unwrap(), project);
    }
}
