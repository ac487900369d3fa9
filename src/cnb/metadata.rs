//! `<layers>/config/metadata.toml`: what the launcher reads at every start.

use crate::launch::Process;
use crate::{BuildpackId, FormatError, read};
use serde::{Deserialize, Serialize};

/// What the launcher must know of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchMetadata {
    /// Its processes.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// Its buildpacks, in the sequence of their builds.
    #[serde(default)]
    pub buildpacks: Vec<LaunchBuildpack>,
}

/// A buildpack whose layers the launcher applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchBuildpack {
    /// The API that it was written for.
    pub api: String,
    /// Its id.
    pub id: BuildpackId,
}

impl LaunchMetadata {
    /// Reads metadata.toml.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        read("metadata.toml", text)
    }

    /// The file.
    pub fn to_toml(&self) -> Result<String, FormatError> {
        toml::to_string(self).map_err(|error| FormatError::new("metadata.toml", error.to_string()))
    }

    /// The process of this type that may run in this execution environment.
    pub fn process(&self, kind: &str, exec_env: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.kind.as_str() == kind && process.runs_in(exec_env))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_survives_a_round_trip_and_has_the_keys_of_the_specification() {
        let metadata = LaunchMetadata {
            processes: vec![Process {
                kind: "web".parse().unwrap(),
                command: vec!["serve".into(), "a \"b\"".into()],
                args: vec!["x".into()],
                direct: true,
                buildpack_id: "a/b".parse().unwrap(),
                working_dir: Some("/w".into()),
                exec_env: vec!["test".into()],
            }],
            buildpacks: vec![LaunchBuildpack { api: "0.12".into(), id: "a/b".parse().unwrap() }],
        };
        let text = metadata.to_toml().unwrap();
        for key in ["type = \"web\"", "buildpack-id = \"a/b\"", "working-dir = \"/w\"", "direct = true"] {
            assert!(text.contains(key), "{text}");
        }
        assert_eq!(LaunchMetadata::parse(&text), Ok(metadata.clone()));
        assert!(metadata.process("web", "test").is_some());
        assert!(metadata.process("web", "production").is_none());
    }
}
