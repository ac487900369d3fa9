//! How a tool is, and which settings are refused.

use super::*;
use hythe_model::{Actor, Digest, Formation, InstanceId, Place, ReleaseCause, ReleaseNumber, ReleaseState};
use hythe_rollout::ExitReason;

fn release(web: u32) -> Release {
    Release {
        tool: "weather".parse().unwrap(),
        number: ReleaseNumber(2),
        image: Digest::sha256([1; 32]),
        commit: "a".repeat(40).parse().unwrap(),
        processes: Vec::new(),
        project: hythe_model::Project::default(),
        config: 0,
        formation: Formation([("web".parse().unwrap(), web)].into()),
        cause: ReleaseCause::Restart,
        message: None,
        actor: Actor::Platform,
        state: ReleaseState::Live,
        fault: None,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn instance(release: u32, state: InstanceState, second: i64) -> InstanceStatus {
    let id = InstanceId {
        tool: "weather".parse().unwrap(),
        release: ReleaseNumber(release),
        process: "web".parse().unwrap(),
        place: Place::Number(1),
        attempt: 0,
    };
    let last_exit = Some(ExitReason { code: Some(3), ..ExitReason::default() });
    let since = Timestamp::from_second(second).unwrap();
    InstanceStatus { id, state, since, restarts: 0, last_exit, canary: false }
}

#[test]
fn the_worst_instance_of_the_live_release_decides() {
    let crashed = || InstanceState::Crashed { retry_at: Timestamp::UNIX_EPOCH };
    let state = |live: Option<&Release>, instances: &[InstanceStatus]| condition(live, instances).state;
    let live = release(2);
    assert_eq!(state(None, &[]), ToolState::Empty);
    assert_eq!(state(Some(&live), &[]), ToolState::Starting);
    assert_eq!(state(Some(&release(0)), &[]), ToolState::Stopped);
    let well = instance(2, InstanceState::Ready, 5);
    assert_eq!(state(Some(&live), std::slice::from_ref(&well)), ToolState::Healthy);
    // The one before it may end as it likes.
    assert_eq!(state(Some(&live), &[well.clone(), instance(1, crashed(), 9)]), ToolState::Healthy);
    let worst = condition(Some(&live), &[well, instance(2, crashed(), 9)]);
    assert_eq!(worst.state, ToolState::Crashing);
    assert_eq!(worst.detail.as_deref(), Some("exit code 3"));
}

#[test]
fn settings_are_checked() {
    let good = || ToolSettings::from(hythe_store::ToolSettings::default());
    assert!(check(&good()).is_ok());
    let bad = [
        ToolSettings { deploy_branches: vec![], ..good() },
        ToolSettings { deploy_branches: vec!["a b".into()], ..good() },
        ToolSettings { deploy_branches: vec!["-x".into()], ..good() },
        ToolSettings { deploy_branches: vec!["a/../b".into()], ..good() },
        ToolSettings { deploy_branches: vec!["x.lock".into()], ..good() },
        ToolSettings { health_path: Some("healthz".into()), ..good() },
        ToolSettings { health_path: Some("/a\r\nHost: x".into()), ..good() },
        ToolSettings { readiness_seconds: Some(0), ..good() },
        ToolSettings { grace_seconds: Some(601), ..good() },
        ToolSettings { memory_bytes: Some(1), ..good() },
    ];
    for settings in bad {
        assert!(check(&settings).is_err(), "{settings:?}");
    }
    let fine = ToolSettings { deploy_branches: vec!["release/1.x".into(), "main".into()], ..good() };
    assert!(check(&fine).is_ok());
}
