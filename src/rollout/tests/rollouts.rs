//! Releases that work, and releases that do not.

use crate::support::{World, as_hythe, tool};
use hythe_model::{Fault, Route};
use hythe_rollout::{InstanceState, Readiness, Runtime};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[test]
fn releases_follow_each_other() {
    as_hythe("rollouts::releases_follow_each_other", || async {
        let world = World::new("follow").await;
        let candidate =
            world.start(world.release(1, "web=2 worker=1", &[("GREETING", "hello")])).await.unwrap();
        assert_eq!(candidate.instances, 3);
        world.runtime.switch(candidate).await;
        let first = world.live();
        assert_eq!(first.len(), 2);
        for instance in &first {
            assert_eq!(world.get(instance, "/release").await, "v1");
        }
        let begun = Instant::now();
        let candidate = world.start(world.release(2, "web=1", &[])).await.unwrap();
        println!("a web instance was ready after {:?}", begun.elapsed());
        assert_eq!(world.live(), first, "the old ones serve until the switch");
        let switched = world.runtime.switch(candidate).await;
        assert_eq!(switched.previous.map(|number| number.0), Some(1));
        assert_eq!(world.get(&world.live()[0], "/release").await, "v2");
        world.until_sandboxes(1).await;
        assert_eq!(world.runtime.instances(&tool()).await.len(), 1);
        world.end().await;
    });
}

#[test]
fn a_process_sees_its_surroundings() {
    as_hythe("rollouts::a_process_sees_its_surroundings", || async {
        let world = World::new("env").await;
        world.deploy(world.release(1, "web=1", &[("GREETING", "config over image")])).await;
        let log = world.bench.folder.join("logs/weather/v1.web.1.0/0000000001.log");
        let mut text = String::new();
        while !text.contains('\n') {
            tokio::time::sleep(Duration::from_millis(20)).await;
            text = std::fs::read_to_string(&log).unwrap_or_default();
        }
        let line = text.lines().next().unwrap().splitn(3, ' ').nth(2).unwrap();
        assert_eq!(line, "weather v1 web on 8080 says config over image as 1001");
        world.end().await;
    });
}

/// The fault of a release with this behaviour, and how long it took.
async fn failed(world: &World, number: u32, behave: &str) -> (Fault, Duration) {
    let begun = Instant::now();
    let mut release = world.release(number, "web=1", &[("BEHAVE", behave)]);
    release.settings.timeout = Duration::from_secs(3);
    let fault = world.start(release).await.unwrap_err();
    (fault, begun.elapsed())
}

#[test]
fn a_release_that_fails_says_why_and_leaves_nothing() {
    as_hythe("rollouts::a_release_that_fails_says_why_and_leaves_nothing", || async {
        let world = World::new("fails").await;
        world.deploy(world.release(1, "web=1", &[])).await;
        let (fault, _) = failed(&world, 2, "crash").await;
        assert_eq!(fault.id, "rollout/crashed", "{fault}");
        assert!(fault.why.iter().any(|line| line.contains("exit code 3")), "{fault}");
        assert!(fault.why.iter().any(|line| line.trim() == "cannot go on"), "{fault}");
        let (fault, _) = failed(&world, 3, "zero").await;
        assert_eq!(fault.id, "rollout/exited-zero", "{fault}");
        let (fault, took) = failed(&world, 4, "deaf").await;
        assert_eq!(fault.id, "rollout/not-listening", "{fault}");
        assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(10), "{took:?}");
        let (fault, _) = failed(&world, 5, "memory").await;
        assert_eq!(fault.id, "rollout/out-of-memory", "{fault}");
        assert!(fault.why.iter().any(|line| line.contains("64 MiB")), "{fault}");
        assert_eq!(world.sandboxes().await, 1);
        assert_eq!(world.get(&world.live()[0], "/release").await, "v1");
        world.end().await;
    });
}

#[test]
fn health_is_asked_over_http() {
    as_hythe("rollouts::health_is_asked_over_http", || async {
        let world = World::new("health").await;
        let mut release = world.release(1, "web=1", &[]);
        release.settings.readiness = Readiness::Http { path: "/release".to_owned() };
        world.deploy(release).await;
        let mut release = world.release(2, "web=1", &[]);
        release.settings.readiness = Readiness::Http { path: "/healthz".to_owned() };
        release.settings.timeout = Duration::from_secs(2);
        let fault = world.start(release).await.unwrap_err();
        assert_eq!(fault.id, "rollout/not-healthy", "{fault}");
        assert!(fault.why[0].contains("GET /healthz answered 404"), "{fault}");
        world.end().await;
    });
}

#[test]
fn an_instance_that_ignores_sigterm_is_killed_after_its_grace() {
    as_hythe("rollouts::an_instance_that_ignores_sigterm_is_killed_after_its_grace", || async {
        let world = World::new("stubborn").await;
        world.deploy(world.release(1, "web=1", &[("BEHAVE", "stubborn")])).await;
        world.deploy(world.release(2, "web=1", &[])).await;
        let begun = Instant::now();
        world.until_sandboxes(1).await;
        let took = begun.elapsed();
        assert!(
            took > Duration::from_secs(1) && took < Duration::from_secs(8),
            "grace is 2 s, it took {took:?}"
        );
        world.end().await;
    });
}

#[test]
fn cancelling_takes_less_than_two_seconds() {
    as_hythe("rollouts::cancelling_takes_less_than_two_seconds", || async {
        let world = World::new("cancel").await;
        let cancel = CancellationToken::new();
        let starting = world.release(1, "web=1", &[("BEHAVE", "deaf")]);
        let starting = world.runtime.start(starting, None, &|_| (), cancel.clone());
        let (started, took) = tokio::join!(starting, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            cancel.cancel();
            Instant::now()
        });
        assert_eq!(started.unwrap_err().id, "rollout/cancelled");
        assert!(took.elapsed() < Duration::from_secs(2), "{:?}", took.elapsed());
        assert_eq!(world.sandboxes().await, 0);
        world.end().await;
    });
}

#[test]
fn a_crash_later_on_is_followed_by_another_start() {
    as_hythe("rollouts::a_crash_later_on_is_followed_by_another_start", || async {
        let world = World::new("later").await;
        world.deploy(world.release(1, "web=1", &[("BEHAVE", "short")])).await;
        let mut routes = world.runtime.routes();
        let crashed = routes
            .wait_for(|table| matches!(table.get("weather").map(|r| &**r), Some(Route::Crashed { .. })));
        drop(crashed.await.unwrap());
        let status = world.runtime.instances(&tool()).await.remove(0);
        assert!(matches!(status.state, InstanceState::Crashed { .. }), "{status:?}");
        let exit = status.last_exit.unwrap();
        assert_eq!((exit.code, exit.last_lines.last().map(String::as_str)), (Some(7), Some("that was it")));
        let live =
            routes.wait_for(|table| matches!(table.get("weather").map(|r| &**r), Some(Route::Live { .. })));
        drop(live.await.unwrap());
        assert_eq!(world.live()[0].attempt, 1);
        world.end().await;
    });
}

#[test]
fn a_layer_is_unpacked_once_for_all_who_want_it() {
    as_hythe("rollouts::a_layer_is_unpacked_once_for_all_who_want_it", || async {
        let world = World::new("layers").await;
        let release = |number| world.start(world.release(number, "web=2", &[]));
        let (one, two) = tokio::join!(release(1), release(2));
        let (one, two) = (one.unwrap(), two.unwrap());
        let layers = world.helper.list_dir(&hythe_sandbox::RelPath::new("layers").unwrap()).await.unwrap();
        assert_eq!(layers.iter().filter(|name| name.len() == 32).count(), 2, "{layers:?}");
        world.runtime.abandon(one).await;
        drop(two);
        world.until_sandboxes(0).await;
        world.end().await;
    });
}
