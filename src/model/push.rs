//! What a maintainer sends: a push, its options, and who sent it.

use crate::{CommitId, MaintainerName, ToolName};
use serde::{Deserialize, Serialize};

/// Who does something: shown in releases and asked about by the policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "name")]
pub enum Actor {
    /// A person or machine account.
    Maintainer(MaintainerName),
    /// A deploy key: may push to its one tool and nothing else.
    DeployKey(ToolName),
    /// The platform itself, as when it resumes a build.
    Platform,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Maintainer(name) => name.fmt(f),
            Self::DeployKey(tool) => write!(f, "deploy key of {tool}"),
            Self::Platform => f.pad("platform"),
        }
    }
}

/// The push options of `git push -o`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushOptions {
    /// `detach`: return once the build is durably queued.
    pub detach: bool,
    /// `no-cache`: build without the layers of earlier builds.
    pub no_cache: bool,
    /// `message=...`: a note kept with the release.
    pub message: Option<String>,
}

/// An unknown or malformed push option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushOptionError {
    /// No option has this name.
    #[error("there is no push option `{0}`: use detach, no-cache or message=...")]
    Unknown(String),
    /// The message is longer than [`PushOptions::MESSAGE_MAX`] characters or has control characters.
    #[error("the message of a push is one line of at most 200 characters")]
    Message,
}

impl PushOptions {
    /// The longest message, in characters.
    pub const MESSAGE_MAX: usize = 200;

    /// Reads the options as git passes them, one text each.
    pub fn parse<'a>(options: impl IntoIterator<Item = &'a str>) -> Result<Self, PushOptionError> {
        let mut parsed = Self::default();
        for option in options {
            match option.split_once('=') {
                None if option == "detach" => parsed.detach = true,
                None if option == "no-cache" => parsed.no_cache = true,
                Some(("message", text)) => {
                    if text.chars().count() > Self::MESSAGE_MAX || text.chars().any(char::is_control) {
                        return Err(PushOptionError::Message);
                    }
                    parsed.message = Some(text.to_owned());
                }
                _ => return Err(PushOptionError::Unknown(option.chars().take(60).collect())),
            }
        }
        Ok(parsed)
    }
}

/// A push to a tool's deploy branch whose objects are durable in its repository and whose ref has not moved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushRequest {
    /// The tool pushed to.
    pub tool: ToolName,
    /// Who pushes.
    pub actor: Actor,
    /// The full ref, as in `refs/heads/main`.
    pub reference: String,
    /// What the client believes the ref to be; `None` creates it.
    pub old: Option<CommitId>,
    /// The commit pushed.
    pub new: CommitId,
    /// The options of the push.
    pub options: PushOptions,
}

/// Whether git cannot hold refs of these names beside each other: one of them would be a folder of the other.
pub fn clash(one: &str, other: &str) -> bool {
    let below =
        |name: &str, folder| name.strip_prefix(folder).is_some_and(|rest: &str| rest.starts_with('/'));
    below(one, other) || below(other, one)
}

/// Why a build was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildCause {
    /// A push that somebody waits for.
    Push,
    /// A push with `-o detach`.
    Detached,
    /// `hythe redeploy`.
    Redeploy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_that_is_a_folder_of_another_clashes_with_it() {
        for (one, other) in [("release", "release/2026"), ("a/b/c", "a")] {
            assert!(clash(one, other) && clash(other, one));
        }
        for (one, other) in [("release", "release"), ("release", "release-2026/x"), ("a/b", "a/c")] {
            assert!(!clash(one, other) && !clash(other, one));
        }
    }

    #[test]
    fn options_are_known_or_refused() {
        let options = PushOptions::parse(["detach", "message=Fix wind"]).unwrap();
        assert!(options.detach && !options.no_cache);
        assert_eq!(options.message.as_deref(), Some("Fix wind"));
        assert_eq!(PushOptions::parse(["force"]), Err(PushOptionError::Unknown("force".into())));
        assert_eq!(PushOptions::parse(["detach=1"]), Err(PushOptionError::Unknown("detach=1".into())));
        assert_eq!(PushOptions::parse(["message=a\nb"]), Err(PushOptionError::Message));
    }
}
