//! The supervision's stories, on a machine in memory and a clock that jumps.

use super::testing::{Memory, Program, instance, release};
use super::tools::Tools;
use crate::jobs::JobState;
use crate::runtime::{Answers, Traffic, Unwatched};
use crate::settings::ReadMount;
use crate::status::{ExitReason, InstanceState};
use async_trait::async_trait;
use hythe_model::project::{CommandLine, CronJob, Liveness};
use hythe_model::units::Span;
use hythe_model::{
    BuildEvent, Fault, InstanceId, JobName, Place, ProcessType, ReleaseNumber, Route, ToolName,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

mod canary;

struct World {
    machine: Arc<Memory>,
    tools: Arc<Tools>,
}

fn world() -> World {
    with_traffic(Arc::new(Unwatched))
}

fn with_traffic(traffic: Arc<dyn Traffic>) -> World {
    let machine = Arc::new(Memory::default());
    World { tools: Tools::new(machine.clone(), traffic), machine }
}

fn weather() -> ToolName {
    "weather".parse().unwrap()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl World {
    async fn start(&self, number: u32, formation: &str) -> Result<crate::Candidate, Fault> {
        let release = release("weather", number, formation);
        self.tools.start(release, None, &|_| (), CancellationToken::new()).await
    }

    async fn deploy(&self, number: u32, formation: &str) {
        let candidate = self.start(number, formation).await.unwrap();
        self.tools.switch(candidate);
    }

    fn route(&self) -> Option<Route> {
        self.tools.routes().borrow().get("weather").map(|route| Route::clone(route))
    }

    /// Release and names of those who take traffic.
    fn live(&self) -> (u32, Vec<String>) {
        match self.route() {
            Some(Route::Live { release, upstreams }) => {
                (release.0, upstreams.iter().map(|up| up.instance.to_string()).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn settle(&self) {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_takes_traffic_when_it_is_switched_to_and_not_before() {
    let world = world();
    assert_eq!(world.route(), None);
    world.tools.declare(&weather());
    assert_eq!(world.route(), Some(Route::Empty));
    let candidate = world.start(1, "web=2 worker=1").await.unwrap();
    assert_eq!(candidate.instances, 3);
    assert!(candidate.ready_after >= secs(2), "a worker counts as ready when it stayed up");
    assert_eq!(world.route(), Some(Route::Starting));
    let switched = world.tools.switch(candidate);
    assert_eq!((switched.release, switched.previous), (ReleaseNumber(1), None));
    assert_eq!(world.live(), (1, vec!["weather.v1.web.1".into(), "weather.v1.web.2".into()]));
}

#[tokio::test(start_paused = true)]
async fn the_old_release_serves_until_the_switch_and_stops_after_its_last_request() {
    struct OneRequest(tokio::sync::Notify);
    #[async_trait]
    impl Traffic for OneRequest {
        async fn answers(&self, _: &ToolName, _: &[Vec<InstanceId>; 2]) -> [Answers; 2] {
            <[Answers; 2]>::default()
        }

        async fn drained(&self, _: &InstanceId) {
            self.0.notified().await;
        }
    }
    let traffic = Arc::new(OneRequest(tokio::sync::Notify::new()));
    let world = with_traffic(traffic.clone());
    world.deploy(1, "web=1").await;
    let candidate = world.start(2, "web=1").await.unwrap();
    assert_eq!(world.live().0, 1);
    let switched = world.tools.switch(candidate);
    assert_eq!(switched.previous, Some(ReleaseNumber(1)));
    assert_eq!(world.live(), (2, vec!["weather.v2.web.1".into()]));
    sleep(secs(1)).await;
    assert!(!world.machine.happened().contains(&"terminate weather.v1.web.1".to_owned()));
    let states: Vec<_> = world.tools.instances(&weather()).into_iter().map(|status| status.state).collect();
    assert_eq!(states, [InstanceState::Ready, InstanceState::Stopping]);
    traffic.0.notify_one();
    world.settle().await;
    let happened = world.machine.happened();
    assert_eq!(happened[2..], ["terminate weather.v1.web.1", "dispose weather.v1.web.1"]);
    assert_eq!(world.tools.instances(&weather()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_requests_and_the_shutdown_are_bounded_each() {
    struct Busy;
    #[async_trait]
    impl Traffic for Busy {
        async fn answers(&self, _: &ToolName, _: &[Vec<InstanceId>; 2]) -> [Answers; 2] {
            <[Answers; 2]>::default()
        }

        async fn drained(&self, _: &InstanceId) {
            std::future::pending::<()>().await;
        }
    }
    let world = with_traffic(Arc::new(Busy));
    world.machine.plan("weather.v1.web.1", [Program { stops_within: None, ..Program::good() }]);
    world.deploy(1, "web=1").await;
    world.deploy(2, "web=1").await;
    let switched = Instant::now();
    let until = |what: &'static str| {
        let world = &world;
        async move {
            while !world.machine.happened().iter().any(|happened| happened == what) {
                sleep(Duration::from_millis(100)).await;
            }
            switched.elapsed().as_secs()
        }
    };
    assert_eq!(until("terminate weather.v1.web.1").await, 30);
    assert_eq!(until("kill weather.v1.web.1").await, 40);
    assert_eq!(until("dispose weather.v1.web.1").await, 40);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_crashes_never_takes_traffic() {
    let world = world();
    world.deploy(1, "web=1").await;
    let crash = Program { listens_after: None, ..Program::ends(Duration::from_millis(800), 1) };
    world.machine.plan("weather.v2.web.2", [crash]);
    let said = Mutex::new(Vec::new());
    let notes = |event: BuildEvent| said.lock().unwrap().push(event);
    let started =
        world.tools.start(release("weather", 2, "web=2"), None, &notes, CancellationToken::new()).await;
    let fault = started.unwrap_err();
    assert_eq!(fault.id, "rollout/crashed");
    assert!(fault.why.iter().any(|line| line.contains("last words")), "{fault}");
    let said = said.into_inner().unwrap();
    assert!(
        matches!(&said[..], [BuildEvent::Note { text, .. }] if text.starts_with("instance 2 started, exited with code 1"))
    );
    assert_eq!(world.live(), (1, vec!["weather.v1.web.1".into()]));
    let happened = world.machine.happened();
    assert!(
        happened.contains(&"dispose weather.v2.web.1".to_owned()),
        "the good half goes too: {happened:?}"
    );
    assert_eq!(world.tools.instances(&weather()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_parts_are_well_only_one_after_the_other_is_refused() {
    let world = world();
    world.deploy(1, "web=1").await;
    // Listens at once and dies before the worker counts as ready.
    world.machine.plan("weather.v2.web.1", [Program::ends(Duration::from_millis(500), 3)]);
    let fault = world.start(2, "web=1 worker=1").await.unwrap_err();
    assert_eq!(fault.id, "rollout/crashed");
    assert_eq!(world.live(), (1, vec!["weather.v1.web.1".into()]));
    let starts = world.machine.happened();
    assert_eq!(
        starts.iter().filter(|happened| *happened == "start weather.v2.web.1").count(),
        1,
        "{starts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_fails_between_readiness_and_the_switch_is_started_again() {
    let world = world();
    world.machine.plan("weather.v1.web.1", [Program::ends(Duration::from_millis(500), 3)]);
    let candidate = world.start(1, "web=1").await.unwrap();
    sleep(secs(1)).await;
    world.tools.switch(candidate);
    sleep(secs(1)).await;
    assert_eq!(world.live(), (1, vec!["weather.v1.web.1.1".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_never_listens_is_given_up_in_time() {
    let world = world();
    world.machine.plan("weather.v1.web.1", [Program::deaf()]);
    let begun = Instant::now();
    let fault = world.start(1, "web=1").await.unwrap_err();
    assert_eq!((fault.id.as_str(), begun.elapsed().as_secs()), ("rollout/not-listening", 60));
    assert!(fault.what.contains("8080"));
    assert_eq!(world.route(), Some(Route::Empty));
    assert_eq!(
        world.machine.happened(),
        ["start weather.v1.web.1", "kill weather.v1.web.1", "dispose weather.v1.web.1"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_at_once_is_no_release() {
    let world = world();
    world.machine.plan("weather.v1.worker.1", [Program::ends(secs(1), 0)]);
    let fault = world.start(1, "web=1 worker=1").await.unwrap_err();
    assert_eq!(fault.id, "rollout/exited-zero");
    assert!(fault.what.contains("worker"));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_the_image_lacks_is_refused_before_anything_starts() {
    let world = world();
    let fault = world.start(1, "web=1 clock=1").await.unwrap_err();
    assert_eq!(fault.id, "rollout/no-such-process");
    assert!(world.machine.happened().is_empty());
    world.deploy(2, "web=1 clock=0").await;
}

#[tokio::test(start_paused = true)]
async fn cancelling_takes_the_candidate_away_within_two_seconds() {
    let world = world();
    world.machine.plan("weather.v1.web.1", [Program { stops_within: None, ..Program::deaf() }]);
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    tokio::spawn(async move {
        sleep(secs(5)).await;
        token.cancel();
    });
    let begun = Instant::now();
    let fault = world.tools.start(release("weather", 1, "web=1"), None, &|_| (), cancel).await.unwrap_err();
    assert_eq!(fault.id, "rollout/cancelled");
    assert!(begun.elapsed() <= secs(7), "{:?}", begun.elapsed());
    assert!(world.machine.happened().contains(&"kill weather.v1.web.1".to_owned()));
    assert_eq!(world.route(), Some(Route::Empty));
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_abandoned_or_dropped_goes() {
    let world = world();
    world.deploy(1, "web=1").await;
    let candidate = world.start(2, "web=1").await.unwrap();
    world.tools.abandon(candidate).await;
    assert!(world.machine.happened().contains(&"dispose weather.v2.web.1".to_owned()));
    drop(world.start(3, "web=1").await.unwrap());
    world.settle().await;
    assert!(world.machine.happened().contains(&"dispose weather.v3.web.1".to_owned()));
    {
        let starting = world.start(4, "web=1");
        assert!(timeout(Duration::from_millis(50), starting).await.is_err());
    }
    world.settle().await;
    assert!(world.machine.happened().contains(&"dispose weather.v4.web.1".to_owned()));
    assert_eq!(world.live().0, 1);
    assert_eq!(world.tools.instances(&weather()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn crashes_are_restarted_with_patience_and_the_route_says_so() {
    let world = world();
    let crash = || Program::ends(secs(5), 137);
    world.machine.plan("weather.v1.web.1", [crash(), crash(), crash()]);
    world.deploy(1, "web=1").await;
    sleep(Duration::from_millis(5100)).await;
    assert_eq!(world.route(), Some(Route::Crashed { reason: "exit code 137".into() }));
    let status = &world.tools.instances(&weather())[0];
    assert!(matches!(status.state, InstanceState::Crashed { .. }));
    assert_eq!(status.last_exit.as_ref().map(|exit| exit.last_lines.len()), Some(1));
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(world.live().1, ["weather.v1.web.1.1"], "started again after a second, under a new name");
    sleep(secs(5)).await;
    assert!(matches!(world.route(), Some(Route::Crashed { .. })));
    sleep(Duration::from_millis(1100)).await;
    assert!(matches!(world.route(), Some(Route::Crashed { .. })), "the second wait is two seconds");
    sleep(secs(1)).await;
    assert_eq!(world.live().1, ["weather.v1.web.1.2"]);
    sleep(secs(60)).await;
    assert_eq!(world.live().1, ["weather.v1.web.1.3"]);
    assert_eq!(world.tools.instances(&weather())[0].restarts, 3);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_hangs_is_started_anew_where_its_liveness_is_asked() {
    let world = world();
    let hangs = || Program { hangs_after: Some(secs(20)), stops_within: None, ..Program::good() };
    let deploy = async |number: u32, liveness: Option<Liveness>| {
        world.machine.plan(&format!("weather.v{number}.web.1"), [hangs()]);
        let mut release = release("weather", number, "web=1");
        release.settings.liveness = liveness;
        let candidate = world.tools.start(release, None, &|_| {}, CancellationToken::new()).await.unwrap();
        world.tools.switch(candidate);
    };
    deploy(1, None).await;
    sleep(secs(300)).await;
    assert_eq!(world.live().1, ["weather.v1.web.1"], "nobody asked");
    deploy(2, Some(Liveness { path: None, every: Span::seconds(5), failures: 3 })).await;
    sleep(secs(29)).await;
    assert_eq!(world.live().1, ["weather.v2.web.1"], "two failures are not three");
    // The third look, the grace that it does not use, and the pause before the next start.
    sleep(secs(13)).await;
    assert_eq!(world.live().1, ["weather.v2.web.1.1"]);
    let status = &world.tools.instances(&weather())[0];
    assert_eq!(status.last_exit.as_ref().unwrap().text(), "not alive: no answer");
    assert!(world.machine.happened().contains(&"kill weather.v2.web.1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn one_crash_of_two_leaves_the_other_serving() {
    let world = world();
    world.machine.plan("weather.v1.web.2", [Program::ends(secs(5), 1)]);
    world.deploy(1, "web=2").await;
    sleep(secs(5)).await;
    assert_eq!(world.live().1, ["weather.v1.web.1"]);
    sleep(secs(2)).await;
    assert_eq!(world.live().1, ["weather.v1.web.1", "weather.v1.web.2.1"]);
}

#[tokio::test(start_paused = true)]
async fn scaling_to_none_empties_the_route() {
    let world = world();
    world.deploy(1, "web=1").await;
    world.deploy(2, "web=0").await;
    assert_eq!(world.route(), Some(Route::Empty));
    world.settle().await;
    assert!(world.tools.instances(&weather()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_tool_is_gone_with_all_that_ran() {
    let world = world();
    world.deploy(1, "web=2").await;
    let candidate = world.start(2, "web=1").await.unwrap();
    world.tools.stop_tool(&weather()).await;
    assert_eq!(world.route(), None);
    let disposed = world.machine.happened().iter().filter(|what| what.starts_with("dispose")).count();
    assert_eq!(disposed, 3);
    drop(candidate);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_keeps_what_runs_starts_what_is_missing_and_stops_the_rest() {
    let world = world();
    let live = release("weather", 3, "web=2 worker=1");
    let image = live.release.image.to_string();
    let named = |release: &crate::RunnableRelease, process: &str, index, attempt| InstanceId {
        attempt,
        ..instance(release, process, index)
    };
    let well = || Program { listens_after: Some(Duration::ZERO), ..Program::good() };
    let candidate = release("weather", 4, "web=1");
    *world.machine.left.lock().unwrap() = vec![
        (named(&live, "web", 1, 7), image.clone(), well()),
        (named(&live, "web", 2, 0), image.clone(), Program::ends(Duration::ZERO, 1)),
        (named(&live, "worker", 1, 0), "sha256:other".to_owned(), well()),
        (named(&candidate, "web", 1, 0), candidate.release.image.to_string(), well()),
    ];
    world.tools.declare(&weather());
    let adopted = world.tools.adopt(vec![live]).await.unwrap();
    assert_eq!((adopted.kept, adopted.starting, adopted.stopped), (1, 2, 2));
    assert_eq!(world.live(), (3, vec!["weather.v3.web.1.7".into()]), "it serves at once, under its name");
    sleep(secs(3)).await;
    assert_eq!(world.live().1, ["weather.v3.web.1.7", "weather.v3.web.2.1"]);
    let happened = world.machine.happened();
    assert!(!happened.iter().any(|what| what.ends_with("weather.v3.web.1.7")), "untouched: {happened:?}");
    for gone in ["dispose weather.v4.web.1", "dispose weather.v3.worker.1", "dispose weather.v3.web.2"] {
        assert!(happened.iter().any(|what| what == gone), "{gone}: {happened:?}");
    }
    world.deploy(5, "web=1").await;
    assert_eq!(world.live().1, ["weather.v5.web.1"]);
}

#[tokio::test(start_paused = true)]
async fn what_reads_a_folder_that_is_not_the_tools_any_more_is_not_kept() {
    let dumps = |folder: &str| ReadMount {
        name: "dumps".parse().unwrap(),
        folder: Some(folder.into()),
        volume: None,
    };
    let adopted = async |mounts: Vec<ReadMount>| {
        let world = world();
        let mut live = with_jobs(3, &[("clean", "0 4 * * *", false)]);
        let image = live.release.image.to_string();
        let run = InstanceId {
            process: ProcessType::of_job(&"clean".parse().unwrap()),
            ..instance(&live, "web", 7)
        };
        let left = [instance(&live, "web", 1), run].map(|id| (id, image.clone(), Program::good()));
        world.machine.left.lock().unwrap().extend(left);
        *world.machine.folders.lock().unwrap() = [("/mnt/dumps".to_owned(), "/srv/dumps".into())].into();
        live.settings.mounts = mounts;
        let adopted = world.tools.adopt(vec![live]).await.unwrap();
        (adopted.kept, adopted.starting, adopted.stopped)
    };
    assert_eq!(adopted(vec![dumps("/srv/dumps")]).await, (2, 0, 0));
    assert_eq!(adopted(vec![]).await, (0, 1, 2));
    assert_eq!(adopted(vec![dumps("/srv/others")]).await, (0, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_adopted_instance_that_crashes_is_restarted() {
    let world = world();
    let live = release("weather", 3, "web=1");
    let left = Program { listens_after: Some(Duration::ZERO), ..Program::good() };
    let id = InstanceId { attempt: 2, ..instance(&live, "web", 1) };
    *world.machine.left.lock().unwrap() = vec![(id.clone(), live.release.image.to_string(), left)];
    world.tools.adopt(vec![live]).await.unwrap();
    assert_eq!(world.live().1, ["weather.v3.web.1.2"]);
    let guest = world.tools.states().get(&weather()).unwrap().live.as_ref().unwrap().guest(&id);
    guest.unwrap().kill().await;
    sleep(secs(2)).await;
    assert_eq!(world.live().1, ["weather.v3.web.1.3"]);
    let status = &world.tools.instances(&weather())[0];
    assert_eq!(status.restarts, 1);
    assert_eq!(status.last_exit.as_ref().map(ExitReason::text), Some("ended by SIGKILL".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_runs_outlives_its_supervision() {
    let world = world();
    world.deploy(1, "web=1").await;
    drop(world.tools);
    sleep(secs(60)).await;
    assert_eq!(world.machine.happened(), ["start weather.v1.web.1"]);
}

/// A release whose repository names these jobs.
fn with_jobs(number: u32, jobs: &[(&str, &str, bool)]) -> crate::RunnableRelease {
    let mut release = release("weather", number, "web=1");
    for (name, schedule, overlap) in jobs {
        let job = CronJob {
            schedule: schedule.parse().unwrap(),
            command: CommandLine::Text("true".to_owned()),
            timeout: Span::seconds(600),
            overlap: *overlap,
        };
        release.release.project.cron.insert(name.parse().unwrap(), job);
    }
    release
}

impl World {
    async fn deploy_release(&self, release: crate::RunnableRelease) {
        let candidate = self.tools.start(release, None, &|_| {}, CancellationToken::new()).await.unwrap();
        self.tools.switch(candidate);
    }

    /// Jobs and releases of the runs that began, in order.
    fn began(&self) -> Vec<String> {
        let started = self.machine.happened().into_iter().filter_map(|line| {
            let id = line.strip_prefix("start ")?.to_owned();
            id.contains(".job.").then(|| id.rsplit_once('.').unwrap().0.to_owned())
        });
        started.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_begin_by_the_clock_of_the_live_release() {
    let world = world();
    world.machine.plan("weather.v1.job.clean", (0..9).map(|_| Program::ends(secs(1), 0)));
    world.deploy_release(with_jobs(1, &[("clean", "* * * * *", false), ("never", "0 4 1 1 *", false)])).await;
    sleep(secs(130)).await;
    assert_eq!(world.began(), ["weather.v1.job.clean"; 2], "at 23:59 and at 00:00");
    let runs = world.tools.jobs.runs(&weather());
    assert_eq!(runs.len(), 2);
    assert!(runs[0].since > runs[1].since && runs.iter().all(|run| !run.is_running()), "{runs:?}");
    world.deploy_release(with_jobs(2, &[])).await;
    sleep(secs(600)).await;
    assert_eq!(world.began().len(), 2, "the new release has none");
}

#[tokio::test(start_paused = true)]
async fn a_time_that_the_machine_slept_over_is_left_out() {
    let world = world();
    world.deploy_release(with_jobs(1, &[("clean", "0 * * * *", true)])).await;
    sleep(secs(60)).await;
    // From 23:59 to 05:30, and then on to 06:01.
    *world.machine.leapt.lock().unwrap() = jiff::SignedDuration::from_mins(331);
    sleep(secs(60)).await;
    assert!(world.began().is_empty(), "{:?}", world.began());
    sleep(secs(30 * 60)).await;
    assert_eq!(world.began().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_itself_unless_it_may_overlap_and_has_an_end() {
    let world = world();
    let jobs = [("alone", "* * * * *", false), ("many", "*/2 * * * *", true)];
    world.deploy_release(with_jobs(1, &jobs)).await;
    sleep(secs(610)).await;
    let began = world.began();
    let count = |job: &str| began.iter().filter(|id| id.ends_with(job)).count();
    assert_eq!((count("alone"), count("many")), (1, 5), "{began:?}");
    let alone: JobName = "alone".parse().unwrap();
    assert_eq!(world.tools.start_job(&weather(), &alone).unwrap_err().id, "jobs/conflict");
    assert_eq!(world.tools.start_job(&weather(), &"other".parse().unwrap()).unwrap_err().id, "jobs/absent");
    // The oldest run of each has come to its ten minutes.
    sleep(secs(130)).await;
    let over: Vec<_> =
        world.tools.jobs.runs(&weather()).into_iter().filter(|run| !run.is_running()).collect();
    assert!(!over.is_empty());
    for run in over {
        assert!(
            matches!(&run.state, JobState::Ended(exit) if exit.text() == "ended after 600 s, its timeout")
        );
    }
    let runs = world.tools.jobs.runs(&weather());
    let place = runs.iter().find(|run| run.is_running()).unwrap().id.place.to_string();
    assert!(world.tools.end_job(&weather(), &place));
    world.settle().await;
    assert!(!world.tools.end_job(&weather(), &place), "it has ended");
    world.tools.stop_tool(&weather()).await;
    assert!(world.tools.jobs.runs(&weather()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_outlives_the_server() {
    let world = world();
    let release = with_jobs(1, &[("clean", "0 4 * * *", false)]);
    let id = InstanceId {
        process: ProcessType::of_job(&"clean".parse().unwrap()),
        place: Place::Name("x".to_owned()),
        ..instance(&release, "web", 1)
    };
    let image = release.release.image.to_string();
    world.machine.left.lock().unwrap().push((id, image, Program::good()));
    let adopted = world.tools.adopt(vec![release]).await.unwrap();
    assert_eq!((adopted.kept, adopted.stopped), (1, 0));
    assert!(world.tools.jobs.runs(&weather())[0].is_running());
    sleep(secs(601)).await;
    assert!(!world.tools.jobs.runs(&weather())[0].is_running());
}
