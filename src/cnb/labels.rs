//! The labels by which an image tells how it was made (Platform specification, 0.15).
//!
//! The types here serialize to the JSON of the labels; whoever writes or reads an image does so with them.

use crate::launch::Process;
use crate::output::StoreToml;
use crate::{BuildpackId, LayerName, ProcessName, Table, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the label that holds [`LifecycleMetadata`].
pub const LIFECYCLE_METADATA: &str = "io.buildpacks.lifecycle.metadata";
/// Name of the label that holds [`BuildMetadata`].
pub const BUILD_METADATA: &str = "io.buildpacks.build.metadata";
/// Name of the label that holds [`ProjectMetadata`].
pub const PROJECT_METADATA: &str = "io.buildpacks.project.metadata";
/// Name of the label that holds the execution environment.
pub const EXEC_ENV: &str = "io.buildpacks.exec-env";
/// Name of the label that says whether the image may be put on another run image.
pub const REBASABLE: &str = "io.buildpacks.rebasable";
/// What every label of the platform begins with; a buildpack may not set one.
pub const RESERVED_PREFIX: &str = "io.buildpacks.";

/// Which layer of the image holds what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LifecycleMetadata {
    /// Slices of the app, the rest of it last.
    #[serde(default)]
    pub app: Vec<LayerSha>,
    /// Bills of materials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<LayerSha>,
    /// Layers of buildpacks.
    #[serde(default)]
    pub buildpacks: Vec<BuildpackLayers>,
    /// metadata.toml.
    #[serde(default)]
    pub config: LayerSha,
    /// The launcher.
    #[serde(default)]
    pub launcher: LayerSha,
    /// Links of the process types.
    #[serde(rename = "process-types", default)]
    pub process_types: LayerSha,
    /// The run image below.
    #[serde(rename = "runImage", default)]
    pub run_image: RunImage,
}

/// A layer by the digest of its uncompressed bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSha {
    /// The diff id.
    pub sha: String,
}

/// What one buildpack put into the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildpackLayers {
    /// Its id.
    pub key: BuildpackId,
    /// Its version.
    pub version: Version,
    /// Its launch layers.
    #[serde(default)]
    pub layers: BTreeMap<LayerName, LayerMetadata>,
    /// What it keeps from build to build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreToml>,
}

/// A layer of a buildpack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerMetadata {
    /// Its diff id.
    pub sha: String,
    /// Its metadata.
    #[serde(default)]
    pub data: Table,
    /// Later buildpacks saw it.
    #[serde(default)]
    pub build: bool,
    /// The image has it.
    #[serde(default)]
    pub launch: bool,
    /// The next build gets it back.
    #[serde(default)]
    pub cache: bool,
}

/// The run image that an image stands on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunImage {
    /// Diff id of its topmost layer.
    #[serde(rename = "topLayer")]
    pub top_layer: String,
    /// Its name by digest.
    pub reference: String,
    /// Its name by tag.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Other places of the same image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
}

/// What built the image and what it can start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildMetadata {
    /// Its buildpacks, in the sequence of their builds.
    pub buildpacks: Vec<BuiltWith>,
    /// Its launcher.
    pub launcher: Launcher,
    /// Its processes.
    pub processes: Vec<LabelProcess>,
    /// The type that the buildpacks made the default.
    #[serde(rename = "buildpack-default-process-type", default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ProcessName>,
}

/// A buildpack that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltWith {
    /// Its id.
    pub id: BuildpackId,
    /// Its version.
    pub version: Version,
    /// Where it is at home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
}

/// The launcher of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launcher {
    /// Its version.
    pub version: String,
}

/// A process as the label spells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelProcess {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ProcessName,
    /// Program and the arguments that it always gets.
    pub command: Vec<String>,
    /// Arguments that a user's replace.
    #[serde(default)]
    pub args: Vec<String>,
    /// Whether it starts without a shell.
    pub direct: bool,
    /// The buildpack that brought it.
    #[serde(rename = "buildpackID")]
    pub buildpack_id: BuildpackId,
    /// Where it starts.
    #[serde(rename = "working-dir", default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Execution environments that it is for.
    #[serde(rename = "exec-env", default, skip_serializing_if = "Vec::is_empty")]
    pub exec_env: Vec<String>,
}

impl From<Process> for LabelProcess {
    fn from(process: Process) -> Self {
        Self {
            kind: process.kind,
            command: process.command,
            args: process.args,
            direct: process.direct,
            buildpack_id: process.buildpack_id,
            working_dir: process.working_dir,
            exec_env: process.exec_env,
        }
    }
}

/// Where the source came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectMetadata {
    /// The source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ProjectSource>,
}

/// A source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectSource {
    /// Its kind, as in `git`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What names its state, as in `commit`.
    pub version: BTreeMap<String, String>,
    /// What else is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// A table without the values that JSON lacks, dates and numbers beyond all bounds: each becomes its text.
pub fn plain_table(table: Table) -> Table {
    fn plain(value: toml::Value) -> toml::Value {
        match value {
            toml::Value::Datetime(date) => toml::Value::String(date.to_string()),
            toml::Value::Float(number) if !number.is_finite() => toml::Value::String(number.to_string()),
            toml::Value::Array(values) => toml::Value::Array(values.into_iter().map(plain).collect()),
            toml::Value::Table(table) => toml::Value::Table(plain_table(table)),
            other => other,
        }
    }
    table.into_iter().map(|(key, value)| (key, plain(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifecycle_label_has_the_keys_of_the_specification() {
        let data: Table =
            toml::from_str("when = 2020-01-01\nnan = nan\nlist = [{ d = 2020-01-01T00:00:00Z }]").unwrap();
        let layer = LayerMetadata {
            sha: "sha256:1".into(),
            data: plain_table(data),
            build: false,
            launch: true,
            cache: false,
        };
        let metadata = LifecycleMetadata {
            app: vec![LayerSha { sha: "sha256:2".into() }],
            buildpacks: vec![BuildpackLayers {
                key: "a/b".parse().unwrap(),
                version: "1".parse().unwrap(),
                layers: BTreeMap::from([("deps".parse().unwrap(), layer)]),
                store: None,
            }],
            run_image: RunImage {
                top_layer: "sha256:3".into(),
                reference: "r@sha256:4".into(),
                ..RunImage::default()
            },
            ..LifecycleMetadata::default()
        };
        let json = serde_json::to_value(&metadata).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "app": [{ "sha": "sha256:2" }],
                "buildpacks": [{
                    "key": "a/b", "version": "1",
                    "layers": { "deps": {
                        "sha": "sha256:1", "build": false, "launch": true, "cache": false,
                        "data": { "when": "2020-01-01", "nan": "NaN", "list": [{ "d": "2020-01-01T00:00:00Z" }] },
                    } },
                }],
                "config": { "sha": "" }, "launcher": { "sha": "" }, "process-types": { "sha": "" },
                "runImage": { "topLayer": "sha256:3", "reference": "r@sha256:4" },
            })
        );
        assert_eq!(serde_json::from_value::<LifecycleMetadata>(json).unwrap(), metadata);
    }

    #[test]
    fn the_build_label_spells_processes_its_own_way() {
        let process = Process {
            kind: "web".parse().unwrap(),
            command: vec!["serve".into()],
            args: vec![],
            direct: true,
            buildpack_id: "a/b".parse().unwrap(),
            working_dir: None,
            exec_env: vec![],
        };
        let json = serde_json::to_value(LabelProcess::from(process)).unwrap();
        let expected = serde_json::json!({
            "type": "web", "command": ["serve"], "args": [], "direct": true, "buildpackID": "a/b"
        });
        assert_eq!(json, expected);
    }
}
