//! buildpack.toml: what a buildpack says of itself.

use crate::api::{ApiError, BuildpackApi};
use crate::{BuildpackId, FormatError, Order, Version, read};
use serde::{Deserialize, Serialize};

/// A buildpack's descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its API as written; [`Descriptor::api`] reads it.
    pub api: String,
    /// Its id.
    pub id: BuildpackId,
    /// Its version.
    pub version: Version,
    /// Its name, as people read it.
    pub name: Option<String>,
    /// Where it is at home.
    pub homepage: Option<String>,
    /// Whether its processes see no platform environment.
    pub clear_env: bool,
    /// Execution environments that it is for (API 0.12); empty or `*` is all of them.
    pub exec_env: Vec<String>,
    /// Where it runs; empty is anywhere.
    pub targets: Vec<Target>,
    /// The order of a composite; empty for a component.
    pub order: Order,
}

/// A target that a buildpack supports, or the one that a build is for. A missing part is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Operating system, as in `linux`.
    #[serde(default)]
    pub os: Option<String>,
    /// Architecture, as in `amd64`.
    #[serde(default)]
    pub arch: Option<String>,
    /// Variant of the architecture.
    #[serde(default)]
    pub variant: Option<String>,
    /// Distributions.
    #[serde(default)]
    pub distros: Vec<Distro>,
}

/// A distribution of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distro {
    /// Its name, as in `debian`.
    #[serde(default)]
    pub name: Option<String>,
    /// Its version, as in `12`.
    #[serde(default)]
    pub version: Option<String>,
}

#[derive(Deserialize)]
struct File {
    api: String,
    buildpack: Head,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Head {
    id: BuildpackId,
    version: Version,
    name: Option<String>,
    homepage: Option<String>,
    #[serde(rename = "clear-env", default)]
    clear_env: bool,
    #[serde(rename = "exec-env", default)]
    exec_env: Vec<String>,
}

impl Descriptor {
    /// Reads buildpack.toml.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let file: File = read("buildpack.toml", text)?;
        let head = file.buildpack;
        Ok(Self {
            api: file.api,
            id: head.id,
            version: head.version,
            name: head.name,
            homepage: head.homepage,
            clear_env: head.clear_env,
            exec_env: head.exec_env,
            targets: file.targets,
            order: file.order,
        })
    }

    /// The API it was written for, where this platform runs it.
    pub fn api(&self) -> Result<BuildpackApi, ApiError> {
        BuildpackApi::supported(&self.api)
    }

    /// Whether it is a composite: only an order, nothing to run.
    pub fn is_composite(&self) -> bool {
        !self.order.is_empty()
    }

    /// Whether it may run for this target.
    pub fn supports(&self, target: &Target) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|own| own.matches(target))
    }

    /// Whether it takes part in this execution environment; only API 0.12 can say no.
    pub fn runs_in(&self, exec_env: &str) -> bool {
        let asks = self.api().is_ok_and(BuildpackApi::has_execution_environments);
        !asks || includes(&self.exec_env, exec_env)
    }
}

/// Whether a list of execution environments includes one: empty and `*` are all of them.
pub(crate) fn includes(list: &[String], exec_env: &str) -> bool {
    list.is_empty() || list.iter().any(|one| one == "*" || one == exec_env)
}

impl Target {
    fn matches(&self, actual: &Self) -> bool {
        let part = |own: &Option<String>, other: &Option<String>| {
            own.as_deref().is_none_or(|own| own.is_empty() || other.as_deref() == Some(own))
        };
        let distro = |own: &Distro| {
            actual.distros.iter().any(|d| part(&own.name, &d.name) && part(&own.version, &d.version))
        };
        part(&self.os, &actual.os)
            && part(&self.arch, &actual.arch)
            && (self.variant.is_none() || actual.variant.is_none() || part(&self.variant, &actual.variant))
            && (self.distros.is_empty() || actual.distros.is_empty() || self.distros.iter().any(distro))
    }

    /// The `CNB_TARGET_*` variables of this target.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let distro = self.distros.first();
        [
            ("CNB_TARGET_OS", self.os.clone()),
            ("CNB_TARGET_ARCH", self.arch.clone()),
            ("CNB_TARGET_ARCH_VARIANT", self.variant.clone()),
            ("CNB_TARGET_DISTRO_NAME", distro.and_then(|d| d.name.clone())),
            ("CNB_TARGET_DISTRO_VERSION", distro.and_then(|d| d.version.clone())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|v| !v.is_empty())?)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            os: Some("linux".into()),
            arch: Some("amd64".into()),
            variant: None,
            distros: vec![Distro { name: Some("debian".into()), version: Some("12".into()) }],
        }
    }

    #[test]
    fn a_descriptor_reads_and_ignores_what_it_does_not_know() {
        let text = "api = \"0.10\"\nnew = 1\n[buildpack]\nid = \"a/b\"\nversion = \"1.0\"\nclear-env = true\n\
                    sbom-formats = []\n[[targets]]\nos = \"linux\"\n[[stacks]]\nid = \"*\"\n[metadata]\nx = 1\n";
        let descriptor = Descriptor::parse(text).unwrap();
        assert!(descriptor.clear_env && !descriptor.is_composite());
        assert_eq!(descriptor.api(), Ok(BuildpackApi::V0_10));
        assert!(descriptor.supports(&target()));
    }

    #[test]
    fn errors_name_the_line() {
        let error =
            Descriptor::parse("api = \"0.10\"\n[buildpack]\nid = \"app\"\nversion = \"1\"\n").unwrap_err();
        assert!(error.to_string().starts_with("buildpack.toml: line 3: "), "{error}");
    }

    #[test]
    fn targets_match_part_by_part() {
        let of = |toml: &str| {
            let text = format!("api = \"0.12\"\n[buildpack]\nid = \"a\"\nversion = \"1\"\n{toml}");
            Descriptor::parse(&text).unwrap()
        };
        assert!(of("").supports(&target()));
        assert!(of("[[targets]]\narch = \"arm64\"\n[[targets]]\narch = \"amd64\"").supports(&target()));
        assert!(!of("[[targets]]\nos = \"windows\"").supports(&target()));
        assert!(!of("[[targets]]\n[[targets.distros]]\nname = \"ubuntu\"").supports(&target()));
        assert!(of("[[targets]]\n[[targets.distros]]\nname = \"debian\"").supports(&target()));
    }

    #[test]
    fn execution_environments_count_from_0_12() {
        let text = |api: &str| {
            format!("api = \"{api}\"\n[buildpack]\nid = \"a\"\nversion = \"1\"\nexec-env = [\"test\"]\n")
        };
        assert!(Descriptor::parse(&text("0.11")).unwrap().runs_in("production"));
        assert!(!Descriptor::parse(&text("0.12")).unwrap().runs_in("production"));
        assert!(Descriptor::parse(&text("0.12")).unwrap().runs_in("test"));
    }

    #[test]
    fn target_variables_leave_out_what_is_unknown() {
        let names: Vec<_> = target().variables().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["CNB_TARGET_OS", "CNB_TARGET_ARCH", "CNB_TARGET_DISTRO_NAME", "CNB_TARGET_DISTRO_VERSION"]
        );
    }
}
