//! Versions of the interfaces that the specification knows and this platform speaks.

use std::fmt;
use std::str::FromStr;

/// The Platform API whose image labels and launcher contract this platform writes.
pub const PLATFORM_API: &str = "0.15";

/// A Buildpack API version: which rules a buildpack was written for.
///
/// Older versions differ as the specification tells: 0.8 still has stacks and string commands, 0.9 brought list commands, 0.10
/// targets, 0.11 extensions, 0.12 execution environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BuildpackApi {
    /// 0.8: known by name; not run yet.
    V0_8,
    /// 0.9: known by name; not run yet.
    V0_9,
    /// 0.10.
    V0_10,
    /// 0.11.
    V0_11,
    /// 0.12.
    V0_12,
}

/// A Buildpack API that this platform does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Buildpack API `{0}` is not supported: this platform runs 0.10, 0.11 and 0.12")]
pub struct ApiError(pub String);

impl BuildpackApi {
    /// The versions that this platform runs.
    pub const SUPPORTED: [Self; 3] = [Self::V0_10, Self::V0_11, Self::V0_12];

    /// Reads a version and refuses one that this platform does not run.
    pub fn supported(text: &str) -> Result<Self, ApiError> {
        let api: Self = text.parse()?;
        if Self::SUPPORTED.contains(&api) { Ok(api) } else { Err(ApiError(text.to_owned())) }
    }

    /// The version as a buildpack writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_8 => "0.8",
            Self::V0_9 => "0.9",
            Self::V0_10 => "0.10",
            Self::V0_11 => "0.11",
            Self::V0_12 => "0.12",
        }
    }

    /// Whether a requirement of a build plan may have a `version` beside its metadata (before 0.11).
    pub fn has_versions_of_requirements(self) -> bool {
        self < Self::V0_11
    }

    /// Whether `exec-env` of buildpacks and processes counts, and `CNB_EXEC_ENV` is set (0.12).
    pub fn has_execution_environments(self) -> bool {
        self >= Self::V0_12
    }
}

impl fmt::Display for BuildpackApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for BuildpackApi {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, ApiError> {
        match text {
            "0.8" => Ok(Self::V0_8),
            "0.9" => Ok(Self::V0_9),
            "0.10" => Ok(Self::V0_10),
            "0.11" => Ok(Self::V0_11),
            "0.12" => Ok(Self::V0_12),
            _ => Err(ApiError(text.chars().take(40).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(BuildpackApi::V0_9 < BuildpackApi::V0_10);
        assert_eq!(BuildpackApi::supported("0.12"), Ok(BuildpackApi::V0_12));
    }

    #[test]
    fn unsupported_versions_are_named() {
        for bad in ["0.9", "0.7", "1", "0.13", ""] {
            let error = BuildpackApi::supported(bad).unwrap_err();
            assert!(error.to_string().contains(&format!("`{bad}`")), "{bad}");
        }
    }
}
