//! Names of buildpacks, layers and processes, each a parsed newtype that is safe as part of a path.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a buildpack id of the specification.
    #[error("`{0}` is not a buildpack id: use letters, digits and any of . / -")]
    Buildpack(String),
    /// An id that the layers folder needs itself.
    #[error("the buildpack id `{0}` is reserved")]
    Reserved(String),
    /// Not a version.
    #[error("`{0}` is not a buildpack version")]
    Version(String),
    /// Not a layer's name.
    #[error("`{0}` is not a layer name")]
    Layer(String),
    /// Not a process type.
    #[error("`{0}` is not a process type: use letters, digits and any of . _ -")]
    Process(String),
}

fn only_dots(text: &str) -> bool {
    text.bytes().all(|b| b == b'.')
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! id {
    ($type:ident) => {
        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl TryFrom<String> for $type {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.0
            }
        }
    };
}

/// A buildpack's id, as in `hythe/python` (Buildpack specification, buildpack.toml).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BuildpackId(String);
id!(BuildpackId);

impl BuildpackId {
    /// Ids that would collide with folders of the layers folder.
    pub const RESERVED: [&'static str; 4] = ["app", "config", "generated", "sbom"];

    /// The id as one path component: every `/` becomes `_`.
    pub fn dir_name(&self) -> String {
        self.0.replace('/', "_")
    }
}

impl FromStr for BuildpackId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/' | b'-');
        if text.is_empty() || text.len() > 128 || only_dots(text) || !text.bytes().all(allowed) {
            return Err(IdError::Buildpack(shown(text)));
        }
        if Self::RESERVED.contains(&text) {
            return Err(IdError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A buildpack's version, as in `1.4.0`; compared for equality alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);
id!(Version);

impl FromStr for Version {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'_');
        if text.is_empty() || text.len() > 64 || only_dots(text) || !text.bytes().all(allowed) {
            return Err(IdError::Version(shown(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A layer's name: one path component beside its `<name>.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerName(String);
id!(LayerName);

impl LayerName {
    /// Names whose `<name>.toml` means something else.
    pub const RESERVED: [&'static str; 3] = ["build", "launch", "store"];
}

impl FromStr for LayerName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = |c: char| c == '/' || c.is_control();
        if text.is_empty()
            || text.len() > 200
            || only_dots(text)
            || text.chars().any(bad)
            || Self::RESERVED.contains(&text)
        {
            return Err(IdError::Layer(shown(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A process type, as in `web`; also the name of its link in `/cnb/process`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessName(String);
id!(ProcessName);

impl FromStr for ProcessName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > 63 || only_dots(text) || !text.bytes().all(allowed) {
            return Err(IdError::Process(shown(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_one_path_component() {
        assert_eq!("hythe/python".parse::<BuildpackId>().unwrap().dir_name(), "hythe_python");
        assert_eq!("a/../b".parse::<BuildpackId>().unwrap().dir_name(), "a_.._b");
        for bad in ["", "..", "a b", "a\n", "é"] {
            assert!(matches!(bad.parse::<BuildpackId>(), Err(IdError::Buildpack(_))), "{bad}");
        }
        assert!(matches!("config".parse::<BuildpackId>(), Err(IdError::Reserved(_))));
    }

    #[test]
    fn layers_and_processes_cannot_climb() {
        for bad in ["..", ".", "a/b", "store", "launch", "build", "", "a\0"] {
            assert!(bad.parse::<LayerName>().is_err(), "{bad}");
        }
        assert!("node modules".parse::<LayerName>().is_ok());
        for bad in ["..", "a/b", "", "a b"] {
            assert!(bad.parse::<ProcessName>().is_err(), "{bad}");
        }
        assert!("1.0.0-rc+1".parse::<Version>().is_ok() && "../1".parse::<Version>().is_err());
    }
}
