//! Paths below the helper's folder.
//!
//! Enter at [`RelPath::new`]. A path that leaves the folder cannot be written down; links in it are refused by the
//! helper when it opens it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A path relative to the helper's folder, as in `builds/212/workspace`: names between single slashes, never `.`,
/// `..`, empty or absolute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(String);

/// Not a path below the helper's folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path below the sandbox folder")]
pub struct RelPathError(String);

/// The folder that the helper keeps for itself.
pub const PRIVATE: &str = ".sandbox";

impl RelPath {
    /// Longest path, in bytes.
    pub const MAX: usize = 2048;

    /// Checks a path.
    pub fn new(path: impl Into<String>) -> Result<Self, RelPathError> {
        let path = path.into();
        let name = |name: &str| !name.is_empty() && name != "." && name != ".." && name.len() <= 255;
        let shape = path.len() <= Self::MAX && path.split('/').all(name) && !path.contains('\0');
        if !shape || path.split('/').next() == Some(PRIVATE) {
            return Err(RelPathError(path.chars().take(200).collect()));
        }
        Ok(Self(path))
    }

    /// This path with more below it.
    pub fn join(&self, below: &str) -> Result<Self, RelPathError> {
        Self::new(format!("{}/{below}", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder above (`None` for a single name) and the last name.
    pub fn split(&self) -> (Option<RelPath>, &str) {
        match self.0.rsplit_once('/') {
            Some((parent, name)) => (Some(Self(parent.to_owned())), name),
            None => (None, &self.0),
        }
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &RelPath) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<std::path::Path> for RelPath {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

impl TryFrom<String> for RelPath {
    type Error = RelPathError;
    fn try_from(path: String) -> Result<Self, RelPathError> {
        Self::new(path)
    }
}

impl std::str::FromStr for RelPath {
    type Err = RelPathError;
    fn from_str(path: &str) -> Result<Self, RelPathError> {
        Self::new(path)
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> String {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_folder() {
        for good in ["layers", "builds/212/workspace", "a/..b", "a b/ü"] {
            assert!(RelPath::new(good).is_ok(), "{good}");
        }
        for bad in ["", "/etc", "..", "a/../b", "a/./b", "a//b", "a/", "a\0b", ".sandbox", ".sandbox/runc"] {
            assert!(RelPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(RelPath::new("a".repeat(256)).is_err());
    }

    #[test]
    fn paths_split_and_contain() {
        let path = RelPath::new("builds/1/layers").unwrap();
        assert_eq!(path.split(), (Some(RelPath::new("builds/1").unwrap()), "layers"));
        assert!(path.is_within(&RelPath::new("builds").unwrap()));
        assert!(!path.is_within(&RelPath::new("build").unwrap()));
        assert_eq!(RelPath::new("builds").unwrap().split(), (None, "builds"));
    }
}
