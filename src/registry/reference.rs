//! Names in a registry: repositories, tags, references.

use hythe_model::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not a repository name of the OCI distribution spec.
    #[error("`{0}` is not a repository name")]
    Repository(String),
    /// Not a tag of the OCI distribution spec.
    #[error("`{0}` is not a tag")]
    Tag(String),
    /// Neither a tag nor a digest.
    #[error("`{0}` is neither a tag nor a digest")]
    Reference(String),
}

/// A repository's name, as in `tools/weather` (OCI distribution spec, `<name>`; at most 200 characters).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository(String);

impl Repository {
    /// What goes before a tool's name in the embedded registry.
    pub(crate) const TOOLS: &str = "tools";

    /// Where a tool's images are kept.
    pub fn of_tool(tool: &hythe_model::ToolName) -> Self {
        Self::below(Self::TOOLS, tool.as_str())
    }

    /// Whether a tool's images are kept there.
    pub(crate) fn is_of_a_tool(&self) -> bool {
        self.0.split_once('/').is_some_and(|(top, _)| top == Self::TOOLS)
    }

    /// A name below a path, which may be empty; both were checked.
    pub(crate) fn below(path: &str, name: &str) -> Self {
        Self(if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One part of a name: lower-case letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = part.split(|c: char| c.is_ascii() && alphanumeric(c as u8)).filter(|s| !s.is_empty());
    let joined = |s: &str| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    part.bytes().next().is_some_and(alphanumeric)
        && part.bytes().next_back().is_some_and(alphanumeric)
        && separators.into_iter().all(joined)
}

impl FromStr for Repository {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > 200 || !text.split('/').all(is_component) {
            return Err(ReferenceError::Repository(text.chars().take(80).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A tag's name (OCI distribution spec, `<reference>` as a tag).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let rest = |b: u8| first(b) || b == b'.' || b == b'-';
        if text.len() > 128 || !text.bytes().next().is_some_and(first) || !text.bytes().all(rest) {
            return Err(ReferenceError::Tag(text.chars().take(80).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

macro_rules! text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl TryFrom<String> for $type {
            type Error = ReferenceError;
            fn try_from(text: String) -> Result<Self, ReferenceError> {
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
text!(Repository);
text!(Tag);

/// A manifest within a repository, by tag or by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// By a name that may move.
    Tag(Tag),
    /// By content.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if let Ok(digest) = text.parse() {
            return Ok(Self::Digest(digest));
        }
        text.parse().map(Self::Tag).map_err(|_| ReferenceError::Reference(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_cannot_climb() {
        for good in ["a", "tools/weather", "stacks/bookworm/run", "a.b/c_d/e__f/g--h"] {
            assert!(good.parse::<Repository>().is_ok(), "{good}");
        }
        for bad in ["", "/", "a/", "/a", "a//b", "..", "a/../b", "A", "_tags", "a._b", "a___b", "é", "a b"] {
            assert!(bad.parse::<Repository>().is_err(), "{bad}");
        }
        assert!("a".repeat(201).parse::<Repository>().is_err());
    }

    #[test]
    fn tags_cannot_climb() {
        for good in ["latest", "v14", "2026.11.20", "_x"] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", &"a".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reference_with_a_colon_is_a_digest() {
        assert!("sha256:abc".parse::<Reference>().is_err());
        assert!(matches!("latest".parse(), Ok(Reference::Tag(_))));
        let digest = Digest::sha256([1; 32]);
        assert_eq!(digest.as_str().parse(), Ok(Reference::Digest(digest)));
    }
}
