//! build.toml and store.toml, and the names of SBOM files.

use crate::plan::BuildpackPlan;
use crate::{FormatError, Table, read};
use serde::{Deserialize, Serialize};

/// build.toml: what the buildpack leaves to the next provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildToml {
    /// Names of plan entries that it did not meet.
    pub unmet: Vec<String>,
}

#[derive(Deserialize)]
struct BuildFile {
    #[serde(default)]
    unmet: Vec<Unmet>,
}

#[derive(Deserialize)]
struct Unmet {
    #[serde(default)]
    name: String,
}

impl BuildToml {
    /// Reads build.toml; each unmet entry must be one that the buildpack was asked for.
    pub fn parse(text: &str, asked: &BuildpackPlan) -> Result<Self, FormatError> {
        let file: BuildFile = read("build.toml", text)?;
        let unmet: Vec<String> = file.unmet.into_iter().map(|unmet| unmet.name).collect();
        match unmet.iter().find(|name| !asked.entries.iter().any(|entry| entry.name == **name)) {
            Some(name) => {
                let reason = format!("unmet `{name}` is not in the buildpack's plan");
                Err(FormatError::new("build.toml", reason))
            }
            None => Ok(Self { unmet }),
        }
    }
}

/// store.toml: what a buildpack keeps from build to build, whatever becomes of its layers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreToml {
    /// What it keeps.
    #[serde(default)]
    pub metadata: Table,
}

impl StoreToml {
    /// Reads store.toml.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        read("store.toml", text)
    }

    /// The file.
    pub fn to_toml(&self) -> Result<String, FormatError> {
        toml::to_string(self).map_err(|error| FormatError::new("store.toml", error.to_string()))
    }
}

/// A format of a bill of materials; its extension ends the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SbomFormat {
    /// `CycloneDX`.
    #[serde(rename = "cdx.json")]
    CycloneDx,
    /// SPDX.
    #[serde(rename = "spdx.json")]
    Spdx,
    /// Syft.
    #[serde(rename = "syft.json")]
    Syft,
}

impl SbomFormat {
    /// Every format that the specification knows.
    pub const ALL: [Self; 3] = [Self::CycloneDx, Self::Spdx, Self::Syft];

    /// The end of its file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::CycloneDx => "cdx.json",
            Self::Spdx => "spdx.json",
            Self::Syft => "syft.json",
        }
    }

    /// Reads a name such as `launch.sbom.cdx.json` as its subject, `launch`, and format.
    pub fn of_file(name: &str) -> Option<(&str, Self)> {
        Self::ALL.into_iter().find_map(|format| {
            let subject = name.strip_suffix(format.extension())?.strip_suffix(".sbom.")?;
            (!subject.is_empty()).then_some((subject, format))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Require;

    #[test]
    fn unmet_entries_must_have_been_asked_for() {
        let asked = BuildpackPlan { entries: vec![Require::named("a")] };
        assert_eq!(BuildToml::parse("[[unmet]]\nname = \"a\"\n", &asked).unwrap().unmet, ["a"]);
        assert!(BuildToml::parse("[[unmet]]\nname = \"b\"\n", &asked).is_err());
        assert!(BuildToml::parse("[[unmet]]\n", &asked).is_err());
    }

    #[test]
    fn a_store_survives_a_round_trip() {
        let store = StoreToml::parse("[metadata]\n[metadata.x]\ny = [1, 2]\n").unwrap();
        assert_eq!(StoreToml::parse(&store.to_toml().unwrap()), Ok(store));
    }

    #[test]
    fn sbom_files_name_subject_and_format() {
        assert_eq!(SbomFormat::of_file("launch.sbom.cdx.json"), Some(("launch", SbomFormat::CycloneDx)));
        assert_eq!(SbomFormat::of_file("a.b.sbom.syft.json"), Some(("a.b", SbomFormat::Syft)));
        assert_eq!(SbomFormat::of_file(".sbom.cdx.json"), None);
        assert_eq!(SbomFormat::of_file("a.cdx.json"), None);
    }
}
