//! What is written to a cluster when a release is taken back, on an API server in memory and a clock that jumps.

use super::*;
use crate::kubernetes::rollout::Rollouts;
use crate::kubernetes::{ClusterSettings, KubernetesParts};
use crate::runtime::{RunnableRelease, Served, Unwatched};
use crate::settings::ProcessSettings;
use hythe_cluster::Cluster;
use hythe_model::project::{CommandLine, ReleaseCommand, ScaleRange};
use hythe_model::units::Span;
use hythe_testing::{Asked, api_server};
use serde_json::json;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What says that a release serves again.
const SERVES: &str = "PATCH /apis/apps/v1/namespaces/hythe-weather/deployments/web";

struct World {
    rollouts: Arc<Rollouts>,
    asked: Asked,
    /// Whether the API server refuses what is written.
    refuses: Arc<AtomicBool>,
    /// Whether it removes no Job.
    keeps: Arc<AtomicBool>,
    _end: DropGuard,
}

impl World {
    /// A cluster with nothing in it that takes all that is written, has looked at once, and shows none of it.
    async fn new() -> Self {
        let refuses = Arc::new(AtomicBool::new(false));
        let keeps = Arc::new(AtomicBool::new(false));
        let (refusing, keeping) = (refuses.clone(), keeps.clone());
        let empty = json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "7" }, "items": [] });
        // The one that is asked for.
        let labels = json!({ "hythe.dev/platform": "hythe", "hythe.dev/tool": "weather" });
        let mut job = empty.clone();
        job["items"] =
            json!([{ "metadata": { "name": "release-v2", "namespace": "hythe-weather", "labels": labels } }]);
        let status = |code: u16, reason: &str| {
            json!({ "apiVersion": "v1", "kind": "Status", "code": code, "reason": reason, "message": reason,
                "status": if code < 300 { "Success" } else { "Failure" } })
            .to_string()
        };
        let (client, asked) = api_server(move |asked, body| {
            let (verb, path) = asked.split_once(' ').unwrap();
            match verb {
                _ if path.contains("watch=true") => None,
                "GET" if path.contains("/jobs?") => Some((200, job.to_string())),
                "GET" if path.contains('?') => Some((200, empty.to_string())),
                "GET" => Some((404, status(404, "NotFound"))),
                "PATCH" if refusing.load(Ordering::SeqCst) => Some((422, status(422, "Invalid"))),
                "PATCH" | "POST" => Some((200, body.to_owned())),
                "DELETE" if keeping.load(Ordering::SeqCst) => Some((403, status(403, "Forbidden"))),
                _ => Some((200, status(200, "Deleted"))),
            }
        });
        let end = CancellationToken::new();
        let parts = KubernetesParts {
            cluster: Cluster::over(client, "hythe"),
            settings: ClusterSettings::default(),
            port: 8080,
            pull: Arc::new(|_| None),
            witness: Arc::new(Unwatched),
            traffic: Arc::new(Unwatched),
        };
        let rollouts = Rollouts::start(parts, end.clone());
        rollouts.looked.clone().wait_for(|lists| lists.iter().all(|done| *done)).await.unwrap();
        Self { rollouts, asked, refuses, keeps, _end: end.drop_guard() }
    }

    /// Shows the pod of release 2's command.
    fn command(&self, stage: Stage) {
        let id =
            InstanceId { process: ProcessType::of_job(&hythe_model::JobName::release()), ..pod(2, "x").id };
        let pod = PodView { id, stage, ready: false, ..pod(2, "x") };
        self.rollouts.seen.update(&tool(), |view| drop(view.pods.insert(pod.name.clone(), Arc::new(pod))));
    }

    /// Takes release 2 back to release 1; after how long that served, and after how long all was over.
    async fn taken_back(&self) -> (Option<Duration>, Duration) {
        let (before, left) = (release(1), migrating(2));
        let begun = Instant::now();
        let back = async {
            self.rollouts.take_back_left(&left, &Served::Release(before.into())).await.unwrap();
            begun.elapsed()
        };
        tokio::join!(self.serves_after(Duration::from_mins(1)), back)
    }

    /// After how long a release serves again, if it does within this time.
    async fn serves_after(&self, patience: Duration) -> Option<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self.asked.take().iter().any(|asked| asked == SERVES) {
                return Some(begun.elapsed());
            }
            sleep(Duration::from_millis(100)).await;
        }
        None
    }
}

fn release(number: u32) -> RunnableRelease {
    testing::release("weather", number, "web=1")
}

/// One with a command before it takes traffic.
fn migrating(number: u32) -> RunnableRelease {
    let command = CommandLine::Text("migrate".to_owned());
    let release_command = Some(ReleaseCommand { command, timeout: Span::seconds(300) });
    RunnableRelease { release_command, ..release(number) }
}

#[tokio::test(start_paused = true)]
async fn what_served_serves_at_once_and_a_command_that_runs_is_waited_for() {
    let world = World::new().await;
    world.command(Stage::Running);
    let (served, over) = world.taken_back().await;
    assert!(served.unwrap() < Duration::from_secs(2), "{served:?}");
    assert!(over > Duration::from_secs(10), "it may hold a database's locks: {over:?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_has_ended_is_not_waited_for() {
    let world = World::new().await;
    world.command(Stage::Ended(ExitReason { code: Some(0), ..ExitReason::default() }));
    let (served, over) = world.taken_back().await;
    assert!(served.unwrap() < Duration::from_secs(2) && over < Duration::from_secs(2), "{served:?} {over:?}");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_taken_back_is_looked_after_again() {
    let world = World::new().await;
    world.rollouts.clone().lead(CancellationToken::new());
    world.rollouts.clone().adopt(vec![release(1)]);
    // The first round looks at what no watch shows, and the next is far.
    sleep(Duration::from_secs(5)).await;
    world.asked.take();
    world.refuses.store(true, Ordering::SeqCst);
    let served = Served::Release(release(1).into());
    world.rollouts.take_back_left(&release(2), &served).await.unwrap();
    world.refuses.store(false, Ordering::SeqCst);
    world.asked.take();
    let again = world.serves_after(Duration::from_mins(2)).await;
    assert!(again.is_some_and(|again| again < Duration::from_secs(20)), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_could_not_be_ended_is_not_told_as_ended() {
    let world = World::new().await;
    let served = Served::Release(release(1).into());
    world.refuses.store(true, Ordering::SeqCst);
    world.keeps.store(true, Ordering::SeqCst);
    let told = world.rollouts.take_back_left(&migrating(2), &served).await;
    assert_eq!(told.unwrap_err().id, "rollout/refused", "who asked asks again");
    world.keeps.store(false, Ordering::SeqCst);
    world.rollouts.take_back_left(&migrating(2), &served).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_back_is_left_as_it_is() {
    let world = World::new().await;
    world.asked.take();
    world.rollouts.take_back_left(&migrating(2), &Served::Unknown).await.unwrap();
    let written: Vec<_> = world.asked.take().into_iter().filter(|asked| !asked.starts_with("GET")).collect();
    assert_eq!(written, ["DELETE /apis/batch/v1/namespaces/hythe-weather/jobs/release-v2"]);
}

#[tokio::test(start_paused = true)]
async fn no_command_begins_beside_one_that_was_left() {
    const BEGUN: &str = "POST /apis/batch/v1/namespaces/hythe-weather/jobs";
    let world = World::new().await;
    world.command(Stage::Running);
    let next = migrating(3);
    let begins = world.rollouts.release_command(&next, &|_| ());
    tokio::pin!(begins);
    let waits = tokio::time::timeout(Duration::from_secs(10), &mut begins).await;
    let asked = world.asked.take();
    assert!(waits.is_err() && asked.iter().any(|asked| asked.ends_with("/jobs/release-v2")), "{asked:?}");
    assert!(!asked.iter().any(|asked| asked == BEGUN), "{asked:?}");
    world.rollouts.seen.update(&tool(), |view| view.pods.clear());
    let _ = tokio::time::timeout(Duration::from_secs(5), &mut begins).await;
    assert!(world.asked.take().iter().any(|asked| asked == BEGUN));
}

#[tokio::test(start_paused = true)]
async fn where_load_decides_a_canary_is_a_part_of_what_runs() {
    let world = World::new().await;
    let mut next = release(2);
    world.rollouts.seen.update(&tool(), |view| {
        view.deployments.insert("web".to_owned(), deployment(1, 20));
    });
    let web = |release: &RunnableRelease| world.rollouts.counts(release)[&ProcessType::web()];
    assert_eq!(web(&next), 1, "the formation decides");
    let scale = Some(ScaleRange { min: 4, max: 16, cpu: 70 });
    let own = ProcessSettings { scale, ..ProcessSettings::default() };
    next.settings.processes.insert(ProcessType::web(), own);
    assert_eq!(web(&next), 16);
}

#[tokio::test(start_paused = true)]
async fn what_answers_by_itself_is_waited_for_where_the_cluster_says_so_late() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut next = release(2);
    next.settings.port = listener.local_addr().unwrap().port();
    next.settings.timeout = Duration::from_secs(20);
    let shows = |ready: bool| {
        let address = Some(Ipv4Addr::LOCALHOST.into());
        let web = PodView { address, ready, ..pod(2, "new") };
        let counted = DeploymentView { available: i32::from(ready), ..deployment(2, 1) };
        world.rollouts.seen.update(&tool(), |view| *view = seen(counted, vec![web]));
    };
    shows(false);
    let wanted = Wanted::of(&next);
    let comes = world.rollouts.until_there(&next, &wanted, &|_| ());
    tokio::pin!(comes);
    // An API server that was away for a minute.
    assert!(tokio::time::timeout(Duration::from_mins(1), &mut comes).await.is_err());
    shows(true);
    comes.await.unwrap();

    shows(false);
    drop(listener);
    let begun = Instant::now();
    let fault = world.rollouts.until_there(&next, &wanted, &|_| ()).await.unwrap_err();
    assert_eq!(fault.id, "rollout/not-listening");
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}
