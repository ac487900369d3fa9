//! Build plans: what buildpacks provide and require, and the entries that a provider is given.

use crate::api::BuildpackApi;
use crate::{BuildpackId, FormatError, Table, read};
use serde::{Deserialize, Serialize};

/// The build plan that a detect writes: one alternative, and others under `or`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuildPlan {
    /// Every alternative, the first of them first; never empty.
    pub alternatives: Vec<Sections>,
}

/// What one alternative provides and requires.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Sections {
    /// Names of dependencies that the buildpack offers.
    #[serde(default)]
    pub provides: Vec<Provide>,
    /// Dependencies that it wants from itself or from a buildpack before it.
    #[serde(default)]
    pub requires: Vec<Require>,
}

/// A dependency offered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Provide {
    /// Its name.
    pub name: String,
}

/// A dependency wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Require {
    /// Its name.
    pub name: String,
    /// What else the provider is told.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub metadata: Table,
    /// A key that Buildpack API 0.11 has no more; until then it is another way to write `metadata.version`.
    #[serde(default, skip_serializing)]
    version: Option<toml::Value>,
}

impl Require {
    /// A requirement without metadata.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), metadata: Table::new(), version: None }
    }

    /// Moves the key `version` to where every provider finds it. Both at once are an error, as for the reference.
    fn move_version(&mut self, api: BuildpackApi) -> Result<(), FormatError> {
        let Some(version) = self.version.take() else { return Ok(()) };
        if !api.has_versions_of_requirements() {
            let reason = "a requirement has the key `version`; write metadata.version instead";
            return Err(FormatError::new("the build plan", reason));
        }
        if self.metadata.contains_key("version") {
            let reason =
                format!("`{}` has both `version` and metadata.version; leave the first out", self.name);
            return Err(FormatError::new("the build plan", reason));
        }
        self.metadata.insert("version".to_owned(), version);
        Ok(())
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(flatten)]
    first: Sections,
    #[serde(default)]
    or: Vec<Sections>,
}

impl BuildPlan {
    /// Reads the build plan of a buildpack of this API; an empty file provides and requires nothing.
    pub fn parse(text: &str, api: BuildpackApi) -> Result<Self, FormatError> {
        let file: File = read("the build plan", text)?;
        let mut alternatives = vec![file.first];
        alternatives.extend(file.or);
        for require in alternatives.iter_mut().flat_map(|sections| &mut sections.requires) {
            require.move_version(api)?;
        }
        Ok(Self { alternatives })
    }

    /// A plan of one alternative.
    pub fn of(sections: Sections) -> Self {
        Self { alternatives: vec![sections] }
    }
}

/// A dependency of the resolved plan, with those who provide it and what is asked of them.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanEntry {
    /// Its name.
    pub name: String,
    /// Who provides it, in the group's sequence.
    pub providers: Vec<BuildpackId>,
    /// Every requirement of this name.
    pub requires: Vec<Require>,
}

/// The plan of a group: consumed provider by provider while builds run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResolvedPlan {
    /// Its entries, in the sequence in which their names first appeared.
    pub entries: Vec<PlanEntry>,
}

/// The Buildpack Plan that one buildpack's build is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BuildpackPlan {
    /// What is asked of it.
    pub entries: Vec<Require>,
}

impl ResolvedPlan {
    /// What is asked of this buildpack.
    pub fn of(&self, buildpack: &BuildpackId) -> BuildpackPlan {
        let own = self.entries.iter().filter(|entry| entry.providers.contains(buildpack));
        BuildpackPlan { entries: own.flat_map(|entry| entry.requires.iter().cloned()).collect() }
    }

    /// Removes what a buildpack was asked and met; what it left unmet goes on to the next provider.
    pub fn met(&mut self, given: &BuildpackPlan, unmet: &[String]) {
        let met =
            |name: &str| given.entries.iter().any(|e| e.name == name) && !unmet.iter().any(|u| u == name);
        self.entries.retain(|entry| !met(&entry.name));
    }
}

impl BuildpackPlan {
    /// The file that `CNB_BP_PLAN_PATH` names.
    pub fn to_toml(&self) -> Result<String, FormatError> {
        toml::to_string(self).map_err(|error| FormatError::new("plan.toml", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_read_in_sequence() {
        let plan = BuildPlan::parse(
            "provides = [{ name = \"a\" }]\n[[requires]]\nname = \"a\"\n[requires.metadata]\nv = 1\n\
             [[or]]\nprovides = [{ name = \"b\" }]\n[[or]]\n",
            BuildpackApi::V0_12,
        )
        .unwrap();
        assert_eq!(plan.alternatives.len(), 3);
        assert_eq!(plan.alternatives[0].requires[0].metadata["v"], toml::Value::Integer(1));
        assert_eq!(BuildPlan::parse("", BuildpackApi::V0_12).unwrap().alternatives, [Sections::default()]);
    }

    #[test]
    fn a_version_beside_metadata_moves_there_until_the_api_has_it_no_more() {
        let text = "[[or]]\n[[or.requires]]\nname = \"a\"\nversion = \"1\"";
        assert!(BuildPlan::parse(text, BuildpackApi::V0_11).is_err());
        let plan = BuildPlan::parse(text, BuildpackApi::V0_10).unwrap();
        assert_eq!(plan.alternatives[1].requires[0].metadata["version"], "1".into());
        let both = format!("{text}\n[or.requires.metadata]\nversion = \"1\"\n");
        assert!(BuildPlan::parse(&both, BuildpackApi::V0_10).unwrap_err().reason.contains("has both"));
    }

    #[test]
    fn unmet_requirements_go_to_the_next_provider() {
        let [one, two] = ["one", "two"].map(|id| id.parse::<BuildpackId>().unwrap());
        let entry = |name: &str| PlanEntry {
            name: name.into(),
            providers: vec![one.clone(), two.clone()],
            requires: vec![Require::named(name), Require::named(name)],
        };
        let mut plan = ResolvedPlan { entries: vec![entry("a"), entry("b")] };
        let given = plan.of(&one);
        assert_eq!(given.entries.len(), 4);
        plan.met(&given, &["b".into()]);
        assert_eq!(plan.of(&two).entries, [Require::named("b"), Require::named("b")]);
    }

    #[test]
    fn a_buildpack_plan_is_written_as_the_specification_says() {
        let mut require = Require::named("node");
        require.metadata.insert("version".into(), "20".into());
        let text = BuildpackPlan { entries: vec![require] }.to_toml().unwrap();
        assert_eq!(text, "[[entries]]\nname = \"node\"\n\n[entries.metadata]\nversion = \"20\"\n");
    }
}
