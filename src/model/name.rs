//! Names of things, each a parsed newtype.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a name was refused. The text is fit for a user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a DNS label of at most [`ToolName::MAX`] characters.
    #[error(
        "`{0}` is not a tool name: use 1 to 40 lower-case letters, digits and hyphens, starting with a letter and not ending in a hyphen"
    )]
    Tool(String),
    /// A name the platform keeps for itself.
    #[error("`{0}` is reserved for the platform: choose another name")]
    Reserved(String),
    /// Not a maintainer's name.
    #[error("`{0}` is not a maintainer name: use 1 to 64 letters, digits, and any of . _ - @")]
    Maintainer(String),
    /// Not a process type of the CNB specification.
    #[error("`{0}` is not a process type: use letters, digits, and any of . _ -")]
    ProcessType(String),
    /// Not a job's name.
    #[error(
        "`{0}` is not a job name: use 1 to 40 lower-case letters, digits and hyphens, starting with a letter and not ending in a hyphen"
    )]
    Job(String),
    /// Not a mount's name.
    #[error(
        "`{0}` is not a mount's name: use 1 to 40 lower-case letters, digits and hyphens, starting with a letter and not ending in a hyphen"
    )]
    Mount(String),
    /// Not of the form `v14`.
    #[error("`{0}` is not a release: releases are written v1, v2, ...")]
    Release(String),
    /// Not a positive whole number.
    #[error("`{0}` is not a build number")]
    Build(String),
}

/// What a newtype of checked text is besides its check.
macro_rules! string_name {
    ($type:ident, $error:ty) => {
        impl $type {
            /// As it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $type {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}

pub(crate) use string_name;

/// A tool's name: a DNS label (RFC 1123) that also serves as its host name's first label and its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(String);

impl ToolName {
    /// The longest name, in characters; leaves room for a prefix within a label's 63.
    pub const MAX: usize = 40;

    /// Host labels that the platform uses itself, sorted.
    pub const RESERVED: &'static [&'static str] = &[
        "acme",
        "admin",
        "api",
        "auth",
        "cache",
        "console",
        "git",
        "hythe",
        "localhost",
        "login",
        "mail",
        "metrics",
        "ns",
        "platform",
        "proxy",
        "registry",
        "root",
        "router",
        "ssh",
        "static",
        "status",
        "system",
        "test",
        "v2",
        "www",
    ];
}

/// Whether it is a DNS label of lower-case letters, digits and hyphens that starts with a letter.
fn is_label(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A label of at most 40 characters; what can be shown of it where it is none.
fn short_label(text: &str) -> Result<String, String> {
    if text.len() <= 40 && is_label(text) {
        Ok(text.to_owned())
    } else {
        Err(text.chars().take(60).collect())
    }
}

impl FromStr for ToolName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let shape = text.len() <= Self::MAX && is_label(text);
        // Two hyphens in the third place mark IDNA labels ("xn--"), which could imitate another name.
        if !shape || text.get(2..4) == Some("--") {
            return Err(NameError::Tool(text.to_owned()));
        }
        if Self::RESERVED.binary_search(&text).is_ok() {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}
string_name!(ToolName, NameError);

/// The name of a person or machine that holds keys and tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MaintainerName(String);

impl FromStr for MaintainerName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
        if text.is_empty() || text.chars().count() > 64 || !text.chars().all(allowed) {
            return Err(NameError::Maintainer(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}
string_name!(MaintainerName, NameError);

/// What the process types of jobs begin with. Procfiles cannot name such a type: they have no dots.
const JOB: &str = "job.";

/// A process type, as in `web` or `worker` (CNB Buildpack specification, launch.toml `[[processes]]`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessType(String);

impl ProcessType {
    /// The process type that receives traffic.
    pub fn web() -> Self {
        Self("web".to_owned())
    }

    /// The type that a job of this name runs as: no image offers it.
    pub fn of_job(name: &JobName) -> Self {
        Self(format!("{JOB}{name}"))
    }

    /// Whether this is the command that runs before a release takes traffic, as Procfiles name it; it has no instances.
    pub fn is_release(&self) -> bool {
        self.0 == "release"
    }

    /// Whether this type receives traffic.
    pub fn is_web(&self) -> bool {
        self.0 == "web"
    }
}

impl FromStr for ProcessType {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let dots = text.bytes().all(|b| b == b'.');
        if text.is_empty() || text.len() > 63 || dots || !text.bytes().all(allowed) {
            return Err(NameError::ProcessType(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}
string_name!(ProcessType, NameError);

/// The name of something that runs to its end, by the clock or once: a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobName(String);

impl JobName {
    /// The name of the command that runs before a release takes traffic.
    pub fn release() -> Self {
        Self("release".to_owned())
    }
}

impl FromStr for JobName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        short_label(text).map(Self).map_err(NameError::Job)
    }
}
string_name!(JobName, NameError);

/// The name of a mount: a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountName(String);

impl FromStr for MountName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        short_label(text).map(Self).map_err(NameError::Mount)
    }
}
string_name!(MountName, NameError);

/// A release's number within its tool, shown as `v14`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseNumber(pub u32);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("v{}", self.0))
    }
}

impl FromStr for ReleaseNumber {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let number = text.strip_prefix('v').unwrap_or(text).parse().ok().filter(|n| *n > 0);
        number.map(Self).ok_or_else(|| NameError::Release(text.to_owned()))
    }
}

impl TryFrom<String> for ReleaseNumber {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ReleaseNumber> for String {
    fn from(number: ReleaseNumber) -> String {
        number.to_string()
    }
}

/// A build's number, unique on the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BuildId(pub i64);

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BuildId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let number = text.parse().ok().filter(|n| *n > 0);
        number.map(Self).ok_or_else(|| NameError::Build(text.to_owned()))
    }
}

/// Which of the copies of a process type an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Place {
    /// The runtime numbers its places, from 1.
    Number(u32),
    /// The runtime names them: the end of a pod's name, as in `x7k2p`.
    Name(String),
}

impl FromStr for Place {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Number))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// One running copy of a process type of a release: `weather.v14.web.1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId {
    /// Its tool.
    pub tool: ToolName,
    /// The release it runs.
    pub release: ReleaseNumber,
    /// The process type it runs.
    pub process: ProcessType,
    /// Its place in the formation.
    pub place: Place,
    /// Start attempts of this place before this one, so that a restarted instance has a name of its own.
    pub attempt: u32,
}

impl InstanceId {
    /// The job that it is a run of, where it is not an instance of the formation.
    pub fn job(&self) -> Option<&str> {
        self.process.as_str().strip_prefix(JOB)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.tool, self.release, self.process, self.place)?;
        if self.attempt > 0 {
            write!(f, ".{}", self.attempt)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_names_are_dns_labels() {
        for good in ["a", "weather", "a-b", "x9"] {
            assert!(good.parse::<ToolName>().is_ok(), "{good}");
        }
        for bad in
            ["", "A", "9a", "a-", "-a", "a_b", "a.b", "xn--abc", "ab--c", &"a".repeat(41), "../x", "a\n"]
        {
            assert!(matches!(bad.parse::<ToolName>(), Err(NameError::Tool(_))), "{bad}");
        }
    }

    #[test]
    fn reserved_names_are_sorted_and_refused() {
        assert!(ToolName::RESERVED.is_sorted());
        assert!(matches!("console".parse::<ToolName>(), Err(NameError::Reserved(_))));
    }

    #[test]
    fn releases_read_with_and_without_the_letter() {
        assert_eq!("v3".parse(), Ok(ReleaseNumber(3)));
        assert_eq!("3".parse(), Ok(ReleaseNumber(3)));
        assert!("v0".parse::<ReleaseNumber>().is_err());
        assert!("three".parse::<ReleaseNumber>().is_err());
    }

    #[test]
    fn process_types_cannot_climb() {
        assert!("..".parse::<ProcessType>().is_err());
        assert!("a/b".parse::<ProcessType>().is_err());
        assert!("web.2".parse::<ProcessType>().is_ok());
    }
}
