//! What was pushed: a commit and its tree, stored durably.

use crate::name::string_name;
use crate::{Digest, Project};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A git commit's object name: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

/// Not an object name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a full git object name")]
pub struct CommitIdError(String);

impl CommitId {
    /// The first seven digits, as people read them.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

string_name!(CommitId, CommitIdError);

impl FromStr for CommitId {
    type Err = CommitIdError;
    fn from_str(text: &str) -> Result<Self, CommitIdError> {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex || !matches!(text.len(), 40 | 64) {
            return Err(CommitIdError(text.chars().take(80).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A checked tree of files, kept as one tar archive named by its digest. Builds start from it, never from a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTree {
    /// The commit it was read from.
    pub commit: CommitId,
    /// The commit's first line, shortened and without control characters.
    pub subject: String,
    /// Digest of the uncompressed archive; also its name in the source store.
    pub digest: Digest,
    /// Regular files and links in it.
    pub files: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// What its `project.toml` says of how it runs.
    #[serde(default, skip_serializing_if = "Project::is_empty")]
    pub project: Project,
}
