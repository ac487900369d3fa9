//! What the trusted side of a build and the lifecycle program in the sandbox say to each other.
//!
//! One [`Request`] as JSON on the lifecycle's standard input; then [`Message`]s on its standard output, one JSON
//! object a line, a [`Message::Done`] or [`Message::Failed`] last. Everything in a message comes from a place where
//! untrusted code runs: its reader checks and bounds it.

use crate::buildpack::Target;
use crate::launch::{Label, Process, Slice};
use crate::layer::LayerTypes;
use crate::output::{SbomFormat, StoreToml};
use crate::{BuildpackId, LayerName, Order, ProcessName, Table, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The longest output line that is passed on, bytes; longer ones are cut.
pub const LINE_MAX: usize = 4 << 10;
/// The longest message, bytes; only the last one comes near it.
pub const MESSAGE_MAX: usize = 16 << 20;
/// The largest TOML file of a buildpack that is read, bytes.
pub const TOML_MAX: u64 = 1 << 20;
/// The largest SBOM file that is kept, bytes.
pub const SBOM_MAX: u64 = 4 << 20;
/// What SBOM files may take together, bytes.
pub const SBOM_TOTAL_MAX: u64 = 10 << 20;
/// What begins the line by which a buildpack reports a written fault: a JSON [`WrittenFault`] follows.
pub const FAULT_PREFIX: &str = "::hythe-fault::";
/// What begins the line by which a buildpack tells where its time went: a JSON [`Told`] follows.
pub const TIME_PREFIX: &str = "::hythe-time::";

/// What the lifecycle is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The app, as in `/workspace`.
    pub app_dir: PathBuf,
    /// The layers, as in `/layers`, the cached ones in place.
    pub layers_dir: PathBuf,
    /// An empty folder that becomes the platform folder.
    pub platform_dir: PathBuf,
    /// Folders of buildpacks, each with a buildpack.toml.
    pub buildpacks: Vec<PathBuf>,
    /// How they are tried.
    pub order: Order,
    /// What the image is for.
    pub target: Target,
    /// The execution environment, as in `production`.
    pub exec_env: String,
    /// The tool's build-time config: files of `<platform>/env`.
    pub platform_env: BTreeMap<String, String>,
    /// The operator's: applied after everything, by the rules of `/cnb/build-config/env`.
    pub build_config_env: BTreeMap<String, String>,
    /// What earlier builds left, by buildpack.
    pub restore: BTreeMap<BuildpackId, Restore>,
}

/// What one buildpack gets back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Restore {
    /// store.toml.
    #[serde(default)]
    pub store: Option<StoreToml>,
    /// Layers whose metadata come back.
    #[serde(default)]
    pub layers: BTreeMap<LayerName, RestoreLayer>,
}

/// What comes back of one layer, besides its contents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RestoreLayer {
    /// Its metadata.
    pub metadata: Table,
    /// Its bills of materials.
    #[serde(default)]
    pub sboms: BTreeMap<SbomFormat, String>,
}

/// What the lifecycle tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Message {
    /// A group applies.
    Detected {
        /// Its buildpacks, in the sequence of their builds.
        buildpacks: Vec<Named>,
        /// What detect took, milliseconds.
        millis: u64,
    },
    /// A build begins.
    Started {
        /// Whose.
        buildpack: BuildpackId,
    },
    /// A line of output.
    Output {
        /// Whose.
        buildpack: BuildpackId,
        /// The line, without its end, cut at [`LINE_MAX`].
        line: String,
    },
    /// A build ended well.
    Finished {
        /// Whose.
        buildpack: BuildpackId,
        /// What it took, milliseconds.
        millis: u64,
        /// Where the time went, as far as the buildpack told.
        told: Vec<Told>,
    },
    /// The end: everything was built.
    Done {
        /// What.
        outcome: Outcome,
    },
    /// The end: it was not.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// A buildpack as people know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its id.
    pub id: BuildpackId,
    /// Its version.
    pub version: Version,
    /// What its detect printed; at most a few lines.
    #[serde(default)]
    pub said: Vec<String>,
}

/// Time that a package manager took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its name, as in `pip`.
    pub tool: String,
    /// Milliseconds.
    pub millis: u64,
}

/// Everything that the buildpacks made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Each of them, in the sequence of their builds.
    pub buildpacks: Vec<Built>,
    /// The image's processes, sorted by type.
    pub processes: Vec<Process>,
    /// The type that is the default.
    pub default: Option<ProcessName>,
    /// Slices of the app.
    pub slices: Vec<Slice>,
    /// Labels of the image, a later one of the same key last.
    pub labels: Vec<Label>,
}

/// What one buildpack made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// Its id.
    pub id: BuildpackId,
    /// Its version.
    pub version: Version,
    /// Its API.
    pub api: String,
    /// Where it is at home.
    #[serde(default)]
    pub homepage: Option<String>,
    /// Its layers that are for something.
    pub layers: BTreeMap<LayerName, BuiltLayer>,
    /// store.toml.
    #[serde(default)]
    pub store: Option<StoreToml>,
    /// `launch.sbom.*`: bills of materials of no single layer.
    #[serde(default)]
    pub sboms: BTreeMap<SbomFormat, String>,
}

/// A layer that a buildpack made or kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuiltLayer {
    /// What it is for.
    pub types: LayerTypes,
    /// Its metadata, in JSON's values.
    pub metadata: Table,
    /// Whether it has a folder; one without reuses the previous image's.
    pub present: bool,
    /// Its bills of materials.
    #[serde(default)]
    pub sboms: BTreeMap<SbomFormat, String>,
}

/// Why there is no outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Failure {
    /// No group applies.
    NothingMatches {
        /// What each detect printed.
        looked: Vec<Named>,
    },
    /// No group applies, and a detect is broken.
    DetectBroken {
        /// Which, and how.
        broken: Vec<BrokenDetect>,
    },
    /// A build did not exit with 0.
    Build {
        /// Whose.
        buildpack: BuildpackId,
        /// Its exit code.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// The fault that it wrote.
        fault: Option<WrittenFault>,
        /// Its last lines.
        tail: Vec<String>,
    },
    /// A buildpack wrote something that it must not, or lacks a file, or is of an API that is not run.
    Buildpack {
        /// Its id, or its folder where that is not known.
        buildpack: String,
        /// What is wrong.
        reason: String,
    },
    /// The order is wrong, or the sandbox lacks something.
    Setup {
        /// What is wrong.
        reason: String,
    },
}

/// A detect that neither passed nor failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenDetect {
    /// Whose.
    pub id: BuildpackId,
    /// How it ended.
    pub reason: String,
    /// The fault that it wrote.
    #[serde(default)]
    pub fault: Option<WrittenFault>,
    /// Its last lines.
    pub tail: Vec<String>,
}

/// A fault that a buildpack wrote for people: id, what happened, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFault {
    /// Its stable id.
    pub id: String,
    /// What happened.
    pub what: String,
    /// Why.
    #[serde(default)]
    pub why: Vec<String>,
    /// What to do.
    #[serde(default)]
    pub next: Vec<String>,
}
