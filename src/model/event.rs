//! What a build and its rollout say while they work.

use crate::Fault;
use serde::{Deserialize, Serialize};

/// A stage of the corridor, as people see it on the left of a build log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Waiting for its turn.
    Queue,
    /// Reading the pushed tree.
    Source,
    /// Finding the buildpacks that apply.
    Detect,
    /// Running them.
    Build,
    /// Writing layers and publishing the image.
    Image,
    /// Writing the release.
    Release,
    /// Making it run.
    Rollout,
}

impl Phase {
    /// The word shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Source => "source",
            Self::Detect => "detect",
            Self::Build => "build",
            Self::Image => "image",
            Self::Release => "release",
            Self::Rollout => "rollout",
        }
    }
}

/// One thing that happened in a build; stored as a line of its log, then streamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum BuildEvent {
    /// One line about a phase; `millis` is what the phase took, where it has ended.
    Note {
        /// The phase it belongs to.
        phase: Phase,
        /// What to show.
        text: String,
        /// Duration of the phase in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        millis: Option<u64>,
    },
    /// A line that a buildpack or a package manager printed, masked.
    Output {
        /// The phase it belongs to.
        phase: Phase,
        /// The line, without its end.
        line: String,
    },
    /// The end: it is live.
    Live {
        /// The release, as in `v14`.
        release: String,
        /// Where it answers.
        url: String,
        /// From the push's arrival to the switch of the route.
        millis: u64,
    },
    /// The end: it is not.
    Failed {
        /// Why.
        fault: Fault,
    },
}

impl BuildEvent {
    /// Whether nothing follows.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Live { .. } | Self::Failed { .. })
    }
}
