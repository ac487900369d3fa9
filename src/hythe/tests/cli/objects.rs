//! The API's objects as the tests' server gives them.

use hythe_api::types::{Build, BuildState, Release, Tool, ToolSettings, ToolState, WhoAmI};
use hythe_model::{Actor, BuildId, Digest, Formation, ReleaseCause, ReleaseNumber, ReleaseState};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// A time this many minutes ago, with half a minute to spare on either side.
pub(crate) fn minutes_ago(minutes: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_secs(minutes * 60 + 30)
}

pub(crate) fn you() -> Actor {
    Actor::Maintainer("robin".parse().unwrap())
}

pub(crate) fn whoami() -> WhoAmI {
    let who = json!({
        "actor": you(), "admin": false,
        "server": { "version": "0.1.0", "domain": "tools.example.org", "git": "ssh://hythe.example.org" },
    });
    serde_json::from_value(who).unwrap()
}

pub(crate) fn tool(name: &str, state: ToolState, release: Option<u32>) -> Tool {
    Tool {
        name: name.parse().unwrap(),
        state,
        detail: None,
        release: release.map(ReleaseNumber),
        since: release.map(|_| minutes_ago(125)),
        url: format!("https://{name}.tools.example.org"),
        git: format!("ssh://hythe.example.org/{name}"),
        settings: ToolSettings {
            deploy_branches: vec!["main".into(), "master".into()],
            health_path: None,
            readiness_seconds: None,
            grace_seconds: None,
            memory_bytes: None,
            read_only_root: false,
        },
        created_at: "2026-11-18T09:30:00Z".parse().unwrap(),
    }
}

pub(crate) fn release(number: u32, minutes: i64, cause: ReleaseCause) -> Release {
    Release {
        tool: "weather".parse().unwrap(),
        number: ReleaseNumber(number),
        image: Digest::sha256([7; 32]),
        reference: None,
        commit: commit(),
        processes: [("web".to_owned(), "gunicorn app:app".to_owned())].into(),
        config: 2,
        formation: Formation([("web".parse().unwrap(), 1)].into()),
        cause,
        message: None,
        actor: you(),
        state: ReleaseState::Superseded,
        fault: None,
        created_at: minutes_ago(minutes),
    }
}

pub(crate) fn commit() -> hythe_model::CommitId {
    "4f2a91c0".repeat(5).parse().unwrap()
}

pub(crate) fn build(id: i64, state: BuildState) -> Build {
    let asked = minutes_ago(10);
    Build {
        id: BuildId(id),
        tool: "weather".parse().unwrap(),
        state,
        cause: "push".into(),
        actor: you(),
        branch: "main".into(),
        commit: commit(),
        subject: "Show wind in knots".into(),
        release: None,
        superseded_by: None,
        fault: None,
        created_at: asked,
        started_at: Some(asked),
        ended_at: state.is_end().then(|| asked + SignedDuration::from_millis(8_140)),
    }
}
