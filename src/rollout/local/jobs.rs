//! Jobs by the clock on one machine: one timekeeper a tool, a sandbox a run.
//!
//! Runs outlive the server as instances do and are taken back by its next start; times that come while no server runs are left
//! out.

use super::machine::{Guest, Machine, shut_down};
use super::tools::Tools;
use crate::command::words;
use crate::jobs::{JobRun, JobState, no_job, overlaps};
use crate::one_off::started;
use crate::runtime::RunnableRelease;
use crate::status::ExitReason;
use hythe_model::project::CronJob;
use hythe_model::{Fault, InstanceId, JobName, Place, ProcessType, ToolName};
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Runs that are remembered of a tool once they have ended.
const REMEMBERED: usize = 20;
/// By how much a run may begin late; after that it is left out.
const LATE: SignedDuration = SignedDuration::from_secs(100);
/// The longest sleep between two looks at the clock, which may be set meanwhile.
const LOOK: SignedDuration = SignedDuration::from_secs(30);

/// The jobs of all tools.
#[derive(Default)]
pub(crate) struct Jobs {
    tools: Mutex<HashMap<ToolName, OfTool>>,
}

/// The jobs of one tool.
#[derive(Default)]
struct OfTool {
    /// Ends the timekeeper of the live release.
    timekeeper: Option<DropGuard>,
    /// The newest last.
    runs: VecDeque<Arc<Run>>,
    /// Runs so far, for their names.
    count: u64,
}

/// One run.
struct Run {
    id: InstanceId,
    state: watch::Sender<(JobState, Timestamp)>,
    /// Ends it when cancelled.
    end: CancellationToken,
}

impl Run {
    fn shown(&self) -> JobRun {
        let (state, since) = self.state.borrow().clone();
        JobRun { id: self.id.clone(), state, since }
    }

    fn enter(&self, state: JobState, now: Timestamp) {
        self.state.send_replace((state, now));
    }
}

impl Jobs {
    fn tools(&self) -> MutexGuard<'_, HashMap<ToolName, OfTool>> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs of a tool, the newest first.
    pub(crate) fn runs(&self, tool: &ToolName) -> Vec<JobRun> {
        let tools = self.tools();
        tools.get(tool).into_iter().flat_map(|jobs| jobs.runs.iter().rev()).map(|run| run.shown()).collect()
    }
}

impl OfTool {
    fn goes_on(&self, kind: &ProcessType) -> bool {
        self.runs.iter().any(|run| run.id.process == *kind && run.shown().is_running())
    }

    /// A place for a new run, in the books from now on; the oldest that has ended goes.
    fn enlist(&mut self, id: InstanceId, state: JobState, now: Timestamp) -> Arc<Run> {
        let ended = self.runs.iter().filter(|run| !run.shown().is_running()).count();
        if ended >= REMEMBERED
            && let Some(oldest) = self.runs.iter().position(|run| !run.shown().is_running())
        {
            self.runs.remove(oldest);
        }
        let (state, _) = watch::channel((state, now));
        let run = Arc::new(Run { id, state, end: CancellationToken::new() });
        self.runs.push_back(run.clone());
        run
    }
}

impl Tools {
    /// Has the jobs of this release begin by the clock, in the place of those of any release before.
    pub(super) fn keep_time(&self, release: RunnableRelease) {
        let tool = release.release.tool.clone();
        let end = CancellationToken::new();
        let mut tools = self.jobs.tools();
        tools.entry(tool).or_default().timekeeper = Some(end.clone().drop_guard());
        if !release.release.project.cron.is_empty() {
            let own = self.own();
            tokio::spawn(async move { end.run_until_cancelled(tick(own, release)).await });
        }
    }

    /// Starts a run of one of the live release's jobs, now.
    pub(crate) fn start_job(&self, tool: &ToolName, name: &JobName) -> Result<(), Fault> {
        let live = self.states().get(tool).and_then(|state| state.live.clone());
        let release = live.map(|group| group.release.clone()).ok_or_else(|| no_job(tool, name))?;
        let job = release.release.project.cron.get(name).cloned().ok_or_else(|| no_job(tool, name))?;
        if self.begin(release, name, job) { Ok(()) } else { Err(overlaps(tool, name)) }
    }

    /// Ends the run in this place; whether there was one that ran.
    pub(crate) fn end_job(&self, tool: &ToolName, place: &str) -> bool {
        let tools = self.jobs.tools();
        let mut runs = tools.get(tool).into_iter().flat_map(|jobs| &jobs.runs);
        let run = runs.find(|run| run.id.place.to_string() == place && run.shown().is_running());
        run.inspect(|run| run.end.cancel()).is_some()
    }

    /// Ends every run of a tool and forgets them.
    pub(super) async fn end_jobs(&self, tool: &ToolName) {
        let Some(jobs) = self.jobs.tools().remove(tool) else { return };
        for run in &jobs.runs {
            run.end.cancel();
        }
        for run in &jobs.runs {
            let _ = run.state.subscribe().wait_for(|(state, _)| matches!(state, JobState::Ended(_))).await;
        }
    }

    /// Begins a run, where none like it is in its way.
    fn begin(&self, release: RunnableRelease, name: &JobName, job: CronJob) -> bool {
        let (tool, kind) = (release.release.tool.clone(), ProcessType::of_job(name));
        let now = self.machine.now();
        let run = {
            let mut tools = self.jobs.tools();
            let jobs = tools.entry(tool.clone()).or_default();
            if !job.overlap && jobs.goes_on(&kind) {
                return false;
            }
            jobs.count += 1;
            // No run had this name before, under an earlier server neither.
            let place = Place::Name(format!("{:x}-{}", now.as_second(), jobs.count));
            let id = InstanceId { tool, release: release.release.number, process: kind, place, attempt: 0 };
            jobs.enlist(id, JobState::Starting, now)
        };
        let machine = self.machine.clone();
        let carried = async move {
            let processes = &release.release.processes;
            let command = started(processes, &words(&job.command, processes));
            match machine.start_job(&run.id, &release, command).await {
                Ok(guest) => {
                    run.enter(JobState::Running, machine.now());
                    carry(&run, &*machine, &*guest, job.timeout.duration(), release.settings.grace).await;
                }
                Err(fault) => {
                    tracing::error!(run = %run.id, %fault, "a job could not be started");
                    let ended_because = Some(format!("not started: {}", fault.what));
                    let exit = ExitReason { ended_because, ..ExitReason::default() };
                    run.enter(JobState::Ended(exit), machine.now());
                }
            }
        };
        let end = self.end.clone();
        tokio::spawn(async move { end.run_until_cancelled(carried).await });
        true
    }

    /// Takes back a run that outlived the server. Its time begins anew.
    pub(super) fn adopt_job(&self, id: InstanceId, guest: Arc<dyn Guest>, release: &RunnableRelease) {
        let limit = |name: &JobName| release.release.project.cron.get(name).map(|job| job.timeout.duration());
        let name = id.job().and_then(|name| name.parse().ok());
        let limit = name.as_ref().and_then(limit).unwrap_or(Duration::from_hours(1));
        let grace = release.settings.grace;
        let now = self.machine.now();
        let run = self.jobs.tools().entry(id.tool.clone()).or_default().enlist(id, JobState::Running, now);
        let (machine, end) = (self.machine.clone(), self.end.clone());
        let carried = async move { carry(&run, &*machine, &*guest, limit, grace).await };
        tokio::spawn(async move { end.run_until_cancelled(carried).await });
    }
}

/// Waits for the end of a run, at most so long, and puts away what is left of it.
async fn carry(run: &Run, machine: &dyn Machine, guest: &dyn Guest, limit: Duration, grace: Duration) {
    let told = tokio::select! {
        exit = guest.exit() => Ok(exit),
        () = sleep(limit) => Err(format!("ended after {} s, its timeout", limit.as_secs())),
        () = run.end.cancelled() => Err("ended by request".to_owned()),
    };
    let exit = match told {
        Ok(exit) => exit,
        Err(why) => ExitReason { ended_because: Some(why), ..shut_down(guest, grace).await },
    };
    guest.dispose(&exit).await;
    run.enter(JobState::Ended(exit), machine.now());
}

/// Begins each job of a release at its times.
async fn tick(tools: std::sync::Weak<Tools>, release: RunnableRelease) {
    let Some(mut from) = tools.upgrade().map(|tools| tools.machine.now()) else { return };
    let cron = &release.release.project.cron;
    let next = |from: Timestamp| cron.values().filter_map(|job| job.schedule.next_after(from)).min();
    while let Some(due) = next(from) {
        loop {
            let Some(now) = tools.upgrade().map(|tools| tools.machine.now()) else { return };
            let wait = due.duration_since(now);
            if !wait.is_positive() {
                break;
            }
            sleep(wait.min(LOOK).unsigned_abs()).await;
        }
        let Some(tools) = tools.upgrade() else { return };
        let now = tools.machine.now();
        let is_late = now.duration_since(due) > LATE;
        let begun = cron.iter().filter(|(_, job)| !is_late && job.schedule.next_after(from) == Some(due));
        for (name, job) in begun {
            if !tools.begin(release.clone(), name, job.clone()) {
                tracing::info!(tool = %release.release.tool, job = %name, "a run is left out: the one before it goes on");
            }
        }
        // Where the clock leapt, as over a sleep of the machine, what is long over is left out.
        from = due.max(now - LATE);
    }
}
