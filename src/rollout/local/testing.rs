//! A machine in memory, and releases to run on it.

use super::machine::{Found, Guest, Machine};
use crate::one_off::{OneOff, OneOffSession};
use crate::runtime::{ImageName, RunnableRelease};
use crate::settings::{Readiness, RunSettings};
use crate::status::ExitReason;
use async_trait::async_trait;
use hythe_model::{
    Actor, BuildId, CommitId, Digest, Fault, Formation, InstanceId, Place, Process, Release, ReleaseCause,
    ReleaseNumber, ReleaseState, ToolName,
};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// A release of a tool with a formation like `web=2 worker=1`, whose image offers web and worker.
pub(crate) fn release(tool: &str, number: u32, formation: &str) -> RunnableRelease {
    let counts = formation.split_whitespace().map(|pair| {
        let (kind, count) = pair.split_once('=').unwrap();
        (kind.parse().unwrap(), count.parse().unwrap())
    });
    let process =
        |kind: &str, command: &str| Process { kind: kind.parse().unwrap(), command: command.to_owned() };
    let release = Release {
        tool: tool.parse().unwrap(),
        number: ReleaseNumber(number),
        image: Digest::sha256([u8::try_from(number % 256).unwrap(); 32]),
        commit: "4f2a91c".repeat(6)[..40].parse::<CommitId>().unwrap(),
        processes: vec![
            process("web", "gunicorn app:app --bind 0.0.0.0:$PORT"),
            process("worker", "python worker.py"),
        ],
        project: hythe_model::Project::default(),
        config: 1,
        formation: Formation(counts.collect()),
        cause: ReleaseCause::Code {
            commit: "4f2a91c".repeat(6)[..40].parse().unwrap(),
            subject: "Show wind in knots".to_owned(),
            build: BuildId(212),
        },
        message: None,
        actor: Actor::Platform,
        state: ReleaseState::RollingOut,
        fault: None,
        created_at: jiff::Timestamp::now(),
    };
    RunnableRelease {
        repository: format!("tools/{tool}"),
        release,
        env: Vec::new(),
        files: Vec::new(),
        settings: RunSettings::default(),
        release_command: None,
        canary: None,
    }
}

/// A name of an instance of a release.
pub(crate) fn instance(release: &RunnableRelease, process: &str, index: u32) -> InstanceId {
    let (tool, number) = (release.release.tool.clone(), release.release.number);
    InstanceId {
        tool,
        release: number,
        process: process.parse().unwrap(),
        place: Place::Number(index),
        attempt: 0,
    }
}

/// How a program in memory behaves.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// When it is ready.
    pub(crate) listens_after: Option<Duration>,
    /// When it stops answering.
    pub(crate) hangs_after: Option<Duration>,
    /// When it ends by itself, and how.
    pub(crate) ends_after: Option<(Duration, ExitReason)>,
    /// How long it takes to stop; for ever where `None`.
    pub(crate) stops_within: Option<Duration>,
}

impl Program {
    /// Ready after 100 ms, runs for ever, stops at once.
    pub(crate) fn good() -> Self {
        Self {
            listens_after: Some(Duration::from_millis(100)),
            hangs_after: None,
            ends_after: None,
            stops_within: Some(Duration::ZERO),
        }
    }

    /// Ends with this code after this time, having listened from the beginning.
    pub(crate) fn ends(after: Duration, code: i32) -> Self {
        let exit = ExitReason {
            code: Some(code),
            last_lines: vec!["last words".to_owned()],
            ..ExitReason::default()
        };
        Self { listens_after: Some(Duration::ZERO), ends_after: Some((after, exit)), ..Self::good() }
    }

    /// Never listens.
    pub(crate) fn deaf() -> Self {
        Self { listens_after: None, ..Self::good() }
    }
}

/// What happened to instances, in order: `start`, `terminate`, `kill`, `dispose` and the instance.
pub(crate) type Journal = Arc<Mutex<Vec<String>>>;

/// A machine that runs [`Program`]s.
#[derive(Default)]
pub(crate) struct Memory {
    /// What the next starts of an instance's place (`weather.v1.web.1`) run; then good programs.
    pub(crate) programs: Mutex<HashMap<String, VecDeque<Program>>>,
    /// What outlived an earlier server.
    pub(crate) left: Mutex<Vec<(InstanceId, String, Program)>>,
    /// The folders that all of it reads.
    pub(crate) folders: Mutex<BTreeMap<String, PathBuf>>,
    /// What happened.
    pub(crate) journal: Journal,
    /// When the clock began.
    begun: Clock,
    /// How far it leapt since.
    pub(crate) leapt: Mutex<jiff::SignedDuration>,
}

/// The instant at which it was made.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Memory {
    /// Sets what the next starts of a place run.
    pub(crate) fn plan(&self, place: &str, programs: impl IntoIterator<Item = Program>) {
        self.programs.lock().unwrap().insert(place.to_owned(), programs.into_iter().collect());
    }

    /// What happened so far.
    pub(crate) fn happened(&self) -> Vec<String> {
        self.journal.lock().unwrap().clone()
    }

    fn guest(&self, id: &InstanceId, program: Program) -> Arc<dyn Guest> {
        let (id, journal) = (id.to_string(), self.journal.clone());
        let (told, _) = watch::channel(None);
        Arc::new(Running { id, program, journal, begun: Instant::now(), told })
    }
}

#[async_trait]
impl Machine for Memory {
    async fn prepare(&self, _: &RunnableRelease) -> Result<(), Fault> {
        Ok(())
    }

    async fn start(&self, id: &InstanceId, _: &RunnableRelease) -> Result<Arc<dyn Guest>, Fault> {
        // A run of a job is planned by its job alone.
        let place = match id.job() {
            Some(_) => format!("{}.{}.{}", id.tool, id.release, id.process),
            None => format!("{}.{}.{}.{}", id.tool, id.release, id.process, id.place),
        };
        let planned = self.programs.lock().unwrap().get_mut(&place).and_then(VecDeque::pop_front);
        self.journal.lock().unwrap().push(format!("start {id}"));
        Ok(self.guest(id, planned.unwrap_or_else(Program::good)))
    }

    async fn start_job(
        &self,
        run: &InstanceId,
        release: &RunnableRelease,
        _: Vec<String>,
    ) -> Result<Arc<dyn Guest>, Fault> {
        self.start(run, release).await
    }

    /// The virtual clock, begun at 23:58 one evening.
    fn now(&self) -> jiff::Timestamp {
        let evening: jiff::Timestamp = "2026-11-27T23:58:00Z".parse().unwrap();
        evening
            + jiff::SignedDuration::try_from(self.begun.0.elapsed()).unwrap()
            + *self.leapt.lock().unwrap()
    }

    async fn run_once(&self, _: OneOff, _: CancellationToken) -> Result<OneOffSession, Fault> {
        Err(Fault::new("test/none", "There are no one-off processes in memory."))
    }

    async fn end_one_offs(&self, _: &ToolName) {}

    async fn images(&self) -> Result<Vec<ImageName>, Fault> {
        Ok(Vec::new())
    }

    async fn prune(&self, _: &[ImageName]) -> Result<usize, Fault> {
        Ok(0)
    }

    async fn found(&self) -> Result<Vec<Found>, Fault> {
        let left = std::mem::take(&mut *self.left.lock().unwrap());
        let found = |(id, image, program): (InstanceId, String, Program)| {
            let running = program.ends_after.is_none();
            let guest = self.guest(&id, program);
            let port = Some(RunSettings::default().port);
            let folders = Some(self.folders.lock().unwrap().clone());
            Found { instance: Some(id), image: Some(image), port, folders, running, guest }
        };
        Ok(left.into_iter().map(found).collect())
    }
}

struct Running {
    id: String,
    program: Program,
    journal: Journal,
    begun: Instant,
    /// When it ends because it was told to, and by which signal.
    told: watch::Sender<Option<(Instant, i32)>>,
}

impl Running {
    fn note(&self, what: &str) {
        self.journal.lock().unwrap().push(format!("{what} {}", self.id));
    }
}

#[async_trait]
impl Guest for Running {
    async fn exit(&self) -> ExitReason {
        let by_itself = async {
            match &self.program.ends_after {
                Some((after, exit)) => {
                    sleep_until(self.begun + *after).await;
                    exit.clone()
                }
                None => std::future::pending().await,
            }
        };
        let by_signal = async {
            let mut told = self.told.subscribe();
            let (at, signal) = told.wait_for(Option::is_some).await.unwrap().unwrap();
            sleep_until(at).await;
            ExitReason { signal: Some(signal), ..ExitReason::default() }
        };
        tokio::select! { exit = by_itself => exit, exit = by_signal => exit }
    }

    async fn terminate(&self) {
        self.note("terminate");
        if let Some(within) = self.program.stops_within {
            self.told.send_replace(Some((Instant::now() + within, 15)));
        }
    }

    async fn kill(&self) {
        self.note("kill");
        self.told.send_replace(Some((Instant::now(), 9)));
    }

    async fn probe(&self, _: &Readiness, _: u16) -> Result<(), String> {
        if self.program.hangs_after.is_some_and(|after| self.begun.elapsed() >= after) {
            return Err("no answer".to_owned());
        }
        match self.program.listens_after {
            Some(after) if self.begun.elapsed() >= after => Ok(()),
            _ => Err("connection refused".to_owned()),
        }
    }

    async fn dial(&self, _: u16) -> io::Result<TcpStream> {
        sleep(Duration::ZERO).await;
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    async fn last_lines(&self) -> Vec<String> {
        vec!["last words".to_owned()]
    }

    async fn dispose(&self, _: &ExitReason) {
        self.note("dispose");
    }
}
