//! How the model's own types look in the `OpenAPI` document.
//!
//! The model knows no `OpenAPI`. Each type here has the shape of one of its types, and the tests hold the two together.

use hythe_model::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What went wrong: what happened, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Fault)]
pub struct ErrorBody {
    /// Stable id, room and cause.
    #[schema(example = "tool/not-found")]
    pub id: String,
    /// What happened, one sentence.
    pub what: String,
    /// Lines of detail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// What to do, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

impl From<Fault> for ErrorBody {
    fn from(fault: Fault) -> Self {
        Self { id: fault.id, what: fault.what, why: fault.why, next: fault.next }
    }
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "name")]
#[schema(as = Actor)]
pub enum ActorSchema {
    /// A person or machine account, by name.
    Maintainer(String),
    /// A deploy key, by the tool it may push to.
    DeployKey(String),
    /// The platform itself.
    Platform,
}

/// What made a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[schema(as = ReleaseCause)]
pub enum ReleaseCauseSchema {
    /// A build of a commit.
    Code {
        /// The commit.
        commit: String,
        /// Its first line.
        subject: String,
        /// The build's number.
        build: i64,
    },
    /// Config keys set or unset.
    Config {
        /// Their names.
        keys: Vec<String>,
    },
    /// Counts changed.
    Scale {
        /// The counts asked for.
        formation: BTreeMap<String, u32>,
    },
    /// An earlier release's triple.
    Rollback {
        /// That release.
        to: String,
    },
    /// The same triple again.
    Restart,
}

/// A stage of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = Phase)]
pub enum PhaseSchema {
    /// Waiting for its turn.
    Queue,
    /// Reading the pushed tree.
    Source,
    /// Finding the buildpacks that apply.
    Detect,
    /// Running them.
    Build,
    /// Publishing the image.
    Image,
    /// Writing the release.
    Release,
    /// Making it run.
    Rollout,
}

/// One thing that happened in a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[schema(as = BuildEvent)]
pub enum BuildEventSchema {
    /// A line about a phase.
    Note {
        /// The phase.
        phase: PhaseSchema,
        /// What to show.
        text: String,
        /// What the phase took, where it has ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        millis: Option<u64>,
    },
    /// A line that a buildpack or a package manager printed.
    Output {
        /// The phase.
        phase: PhaseSchema,
        /// The line.
        line: String,
    },
    /// The end: it is live.
    Live {
        /// The release.
        release: String,
        /// Where it answers.
        url: String,
        /// From the push to the switch of the route.
        millis: u64,
    },
    /// The end: it is not.
    Failed {
        /// Why.
        fault: ErrorBody,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use hythe_model::{Actor, BuildEvent, BuildId, Formation, Phase, ReleaseCause, ReleaseNumber};
    use serde::de::DeserializeOwned;

    /// Passes a value of the model through its schema's type and back.
    fn holds<M: Serialize, S: Serialize + DeserializeOwned>(value: &M) {
        let model = serde_json::to_value(value).unwrap();
        let schema: S = serde_json::from_value(model.clone()).unwrap();
        assert_eq!(serde_json::to_value(schema).unwrap(), model);
    }

    #[test]
    fn schemas_have_the_shape_of_the_model() {
        let fault = Fault::new("build/failed", "The build failed.").why("a").next("b");
        holds::<_, ErrorBody>(&fault);
        holds::<_, ActorSchema>(&Actor::Maintainer("you".parse().unwrap()));
        holds::<_, ActorSchema>(&Actor::DeployKey("weather".parse().unwrap()));
        holds::<_, ActorSchema>(&Actor::Platform);
        let commit = "4f2a91c".repeat(6)[..40].parse().unwrap();
        let causes = [
            ReleaseCause::Code { commit, subject: "Show wind".into(), build: BuildId(7) },
            ReleaseCause::Config { keys: vec!["TIMEOUT".into()] },
            ReleaseCause::Scale { formation: Formation([("web".parse().unwrap(), 2)].into()) },
            ReleaseCause::Rollback { to: ReleaseNumber(3) },
            ReleaseCause::Restart,
        ];
        causes.iter().for_each(holds::<_, ReleaseCauseSchema>);
        let phases = [
            Phase::Queue,
            Phase::Source,
            Phase::Detect,
            Phase::Build,
            Phase::Image,
            Phase::Release,
            Phase::Rollout,
        ];
        for phase in phases {
            holds::<_, BuildEventSchema>(&BuildEvent::Note { phase, text: "t".into(), millis: Some(3) });
            holds::<_, BuildEventSchema>(&BuildEvent::Output { phase, line: "l".into() });
        }
        holds::<_, BuildEventSchema>(&BuildEvent::Live {
            release: "v1".into(),
            url: "http://x".into(),
            millis: 9,
        });
        holds::<_, BuildEventSchema>(&BuildEvent::Failed { fault });
    }
}
