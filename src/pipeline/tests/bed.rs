//! A platform of its own for each test. Nothing is built: builds come with their image.

use crate::{Keep, Parts, Platform, Settings};
use async_trait::async_trait;
use hythe_auth::KeyRing;
use hythe_build::{BuildLimits, Builder, BuilderParts, NetworkSettings, Place, PodParts, PodSettings};
use hythe_cluster::Cluster;
use hythe_cluster::fence::PullAccess;
use hythe_events::{LogLimits, LogStore};
use hythe_model::{
    Actor, BuildCause, BuildEvent, Digest, Fault, Formation, InstanceId, JobName, Phase, ProcessType,
    PublishedImage, PushOptions, Release, ReleaseCause, ReleaseNumber, ReleaseState, RouteTable, SourceTree,
    ToolName,
};
use hythe_oci::{BuiltImage, ImageBuilder};
use hythe_registry::{ContentStore, Reference, Repository};
use hythe_rollout::{
    Adopted, Candidate, ImageName, InstanceStatus, JobRun, JobState, Notes, OneOff, OneOffSession,
    RunSettings, RunnableRelease, Runtime, Served, Switched,
};
use hythe_source::{HookCommand, Repositories, RepositoryOptions, SourceLimits, SourceStore};
use hythe_stacks::{StackImage, StackImages, User, Users};
use hythe_store::{Build, DeployRef, NewBuild, NewRelease, Store};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the runtime does when it is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Well,
    /// Whatever starts a release panics.
    Panics,
    /// A release never gets ready.
    Hangs,
    /// Nothing can be started or taken back: its cluster is away.
    Away,
}

/// A runtime that runs nothing.
#[derive(Default)]
pub(super) struct Stage {
    mood: Mutex<Mood>,
    /// What it was asked, in order, as in `start v3`.
    asked: Mutex<Vec<String>>,
    /// The release that a job of it runs.
    job_of: Mutex<Option<ReleaseNumber>>,
    /// What the command of a release prints.
    prints: Mutex<Option<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    pub(super) fn is(&self, mood: Mood) {
        *locked(&self.mood) = mood;
    }

    /// What it was asked since this was taken last.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.asked))
    }

    /// A job of this release runs from now on.
    pub(super) fn runs_a_job_of(&self, release: ReleaseNumber) {
        *locked(&self.job_of) = Some(release);
    }

    /// From now on the command of a release prints this.
    pub(super) fn prints(&self, line: &str) {
        *locked(&self.prints) = Some(line.to_owned());
    }

    fn note(&self, what: String) {
        locked(&self.asked).push(what);
    }
}

#[async_trait]
impl Runtime for Stage {
    fn declare_tool(&self, _: &ToolName) {}

    async fn start(
        &self,
        release: RunnableRelease,
        _before: Option<RunnableRelease>,
        notes: &Notes<'_>,
        cancel: CancellationToken,
    ) -> Result<Candidate, Fault> {
        let (tool, number) = (release.release.tool, release.release.number);
        self.note(format!("start {number}"));
        if let Some(line) = locked(&self.prints).clone() {
            notes(BuildEvent::Output { phase: Phase::Rollout, line });
        }
        let mood = *locked(&self.mood);
        assert_ne!(mood, Mood::Panics, "as a test wants it");
        if mood == Mood::Away {
            return Err(Fault::new("rollout/cluster-away", "The cluster does not answer."));
        }
        if mood == Mood::Hangs {
            cancel.cancelled().await;
            return Err(Fault::new("rollout/cancelled", "The release was cancelled."));
        }
        Ok(Candidate::new(tool, number, 1, Duration::ZERO, CancellationToken::new()))
    }

    async fn switch(&self, mut candidate: Candidate) -> Switched {
        candidate.disarm();
        self.note(format!("switch {}", candidate.release));
        Switched { release: candidate.release, instances: candidate.instances, previous: None }
    }

    async fn abandon(&self, candidate: Candidate) {
        self.note(format!("abandon {}", candidate.release));
    }

    async fn take_back(&self, left: RunnableRelease, served: Served) -> Result<(), Fault> {
        let served = match served {
            Served::Nothing => "nothing".to_owned(),
            Served::Release(live) => live.release.number.to_string(),
            Served::Unknown => "unknown".to_owned(),
        };
        self.note(format!("take back {} to {served}", left.release.number));
        match *locked(&self.mood) {
            Mood::Away => Err(Fault::new("rollout/not-applied", "The cluster does not answer.")),
            _ => Ok(()),
        }
    }

    async fn stop_tool(&self, tool: &ToolName) -> Result<(), Fault> {
        self.note(format!("stop {tool}"));
        Ok(())
    }

    async fn adopt(&self, _: Vec<RunnableRelease>) -> Result<Adopted, Fault> {
        Ok(Adopted::default())
    }

    async fn instances(&self, _: &ToolName) -> Vec<InstanceStatus> {
        Vec::new()
    }

    fn routes(&self) -> watch::Receiver<RouteTable> {
        watch::channel(RouteTable::default()).1
    }

    async fn dial(&self, _: &InstanceId, _: u16) -> io::Result<TcpStream> {
        Err(io::ErrorKind::NotFound.into())
    }

    async fn run_once(&self, _: OneOff) -> Result<OneOffSession, Fault> {
        Err(Fault::new("run/none", "Nothing runs here."))
    }

    async fn jobs(&self, tool: &ToolName) -> Result<Vec<JobRun>, Fault> {
        let run = |release| JobRun {
            id: InstanceId {
                tool: tool.clone(),
                release,
                process: ProcessType::of_job(&"import".parse().expect("a name")),
                place: hythe_model::Place::Name("a".to_owned()),
                attempt: 0,
            },
            state: JobState::Running,
            since: jiff::Timestamp::now(),
        };
        Ok(locked(&self.job_of).map(run).into_iter().collect())
    }

    async fn start_job(&self, _: &ToolName, _: &JobName) -> Result<(), Fault> {
        Ok(())
    }

    async fn end_job(&self, _: &ToolName, _: &str) -> Result<bool, Fault> {
        Ok(false)
    }

    async fn images(&self) -> Result<Vec<ImageName>, Fault> {
        Ok(Vec::new())
    }

    async fn prune(&self, _: &[ImageName]) -> Result<usize, Fault> {
        Ok(0)
    }
}

/// A platform with a tool, `weather`, and what it lies in.
pub(super) struct Bed {
    pub(super) platform: Platform,
    pub(super) stage: Arc<Stage>,
    folder: Arc<TempDir>,
}

pub(super) fn weather() -> ToolName {
    "weather".parse().expect("a name")
}

impl Bed {
    pub(super) async fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let bed = Self::open(folder, Mood::Well).await;
        bed.platform.create_tool(&Actor::Platform, weather()).await.expect("a tool");
        bed
    }

    /// The server that is started after this one was killed, on a runtime of this mood.
    pub(super) async fn again(&self, mood: Mood) -> Self {
        Self::open(self.folder.clone(), mood).await
    }

    async fn open(folder: Arc<TempDir>, mood: Mood) -> Self {
        let stage = Arc::new(Stage::default());
        stage.is(mood);
        let parts = parts(folder.path(), stage.clone()).await;
        let platform = Platform::open(parts).await.expect("a platform");
        Self { platform, stage, folder }
    }

    /// The folder of the tool's repository.
    pub(super) fn repository(&self) -> PathBuf {
        self.folder.path().join("repositories/weather.git")
    }

    /// A detached build that runs and has its image.
    pub(super) async fn build(&self) -> Build {
        let store = self.platform.store();
        let source = SourceTree {
            commit: "a".repeat(40).parse().expect("a commit"),
            subject: "Show wind in knots".to_owned(),
            digest: Digest::sha256([1; 32]),
            files: 1,
            bytes: 1,
            project: hythe_model::Project::default(),
        };
        let new = NewBuild {
            tool: weather(),
            source,
            reference: "refs/heads/main".to_owned(),
            old: None,
            options: PushOptions { detach: true, ..PushOptions::default() },
            cause: BuildCause::Detached,
            actor: Actor::Platform,
        };
        store.enqueue_build(new).await.expect("a build");
        let holder = &self.platform.inner.holder;
        let build =
            store.claim_next_build(holder, Duration::from_hours(1)).await.expect("rows").expect("a build");
        let image = PublishedImage {
            repository: "tools/weather".to_owned(),
            digest: Digest::sha256([2; 32]),
            bytes: 1,
            layers: 1,
            new_layers: 0,
            new_bytes: 0,
            processes: vec![hythe_model::Process { kind: ProcessType::web(), command: "serve".to_owned() }],
        };
        store.set_build_image(build.id, &image).await.expect("a row");
        self.row(&build).await
    }

    pub(super) async fn row(&self, build: &Build) -> Build {
        self.platform.store().build(build.id).await.expect("rows").expect("a build")
    }

    /// A release that was written and not gone on with, of a build where there is one.
    pub(super) async fn written(&self, build: Option<&Build>, web: u32) -> Release {
        let commit: hythe_model::CommitId = "a".repeat(40).parse().expect("a commit");
        let cause = match build {
            Some(build) => ReleaseCause::Code {
                commit: commit.clone(),
                subject: build.source.subject.clone(),
                build: build.id,
            },
            None => ReleaseCause::Restart,
        };
        let new = NewRelease {
            tool: weather(),
            image: Digest::sha256([2; 32]),
            commit,
            processes: vec![hythe_model::Process { kind: ProcessType::web(), command: "serve".to_owned() }],
            project: hythe_model::Project::default(),
            config: self.platform.store().latest_config(&weather()).await.expect("rows"),
            formation: Formation([(ProcessType::web(), web)].into()),
            cause,
            message: None,
            actor: Actor::Platform,
            build: build.map(|build| build.id),
        };
        self.platform.store().create_release(new).await.expect("a release")
    }

    /// A release that is live.
    pub(super) async fn live(&self, web: u32) -> ReleaseNumber {
        let (store, number) = (self.platform.store(), self.written(None, web).await.number);
        let before = store.live_release(&weather()).await.expect("rows").map(|live| live.number);
        let deployed = DeployRef {
            reference: "refs/heads/main".to_owned(),
            commit: "a".repeat(40).parse().expect("one"),
        };
        store.activate(&weather(), number, before, &deployed).await.expect("a live release");
        number
    }

    pub(super) async fn release(&self, number: ReleaseNumber) -> Release {
        self.platform.store().release(&weather(), number).await.expect("rows").expect("a release")
    }

    /// Waits until who watches a build is told of its end, and its claim is renewed no more.
    pub(super) async fn ended(&self, build: &Build) {
        let look = async {
            let runs = || !self.platform.inner.running.ids().is_empty();
            while !self.platform.logs().has_ended(build.id).await.expect("a log") || runs() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), look).await.expect("it ends");
    }

    /// Waits until a release is in this state.
    pub(super) async fn until(&self, number: ReleaseNumber, state: ReleaseState) -> Release {
        let look = async {
            loop {
                let release = self.platform.store().release(&weather(), number).await.expect("rows");
                if let Some(release) = release.filter(|release| release.state == state) {
                    return release;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), look).await.expect("it gets there")
    }
}

/// The live release of the tool.
pub(super) async fn live(bed: &Bed) -> Release {
    bed.platform.store().live_release(&weather()).await.expect("rows").expect("one is live")
}

async fn parts(folder: &Path, stage: Arc<Stage>) -> Parts {
    let content = ContentStore::open(folder.join("registry")).expect("a registry");
    let keys = folder.join("keys");
    let hook = HookCommand { program: "/bin/true".into(), args: Vec::new() };
    let options = RepositoryOptions { git: "git".into(), hook, limits: SourceLimits::default() };
    std::fs::create_dir_all(&keys).expect("a folder");
    Parts {
        store: Store::open(&folder.join("rows.db")).await.expect("rows"),
        objects: None,
        logs: LogStore::open(folder.join("logs"), LogLimits::default()).expect("logs"),
        keys: KeyRing::load(&keys).expect("keys"),
        repositories: Repositories::open(folder.join("repositories"), options).expect("repositories"),
        sources: SourceStore::open(folder.join("sources")).expect("sources"),
        builder: builder(folder, &content).await,
        runtime: stage,
        content,
        external: None,
        settings: Settings {
            domain: "localhost".to_owned(),
            scheme: "http",
            port: None,
            concurrent_builds: 1,
            builds: true,
            run: RunSettings::default(),
            mounts: Vec::new(),
            keep: Keep {
                every: Duration::from_hours(1),
                releases: 10,
                image_bytes: 1 << 30,
                builds: 10,
                blob_grace: Duration::from_hours(1),
                lock: folder.join("lock"),
            },
        },
    }
}

/// One that would build in a cluster which knows nothing.
async fn builder(folder: &Path, content: &ContentStore) -> Builder {
    let program = folder.join("program");
    std::fs::write(&program, "").expect("a file");
    let definition = folder.join("builder.toml");
    std::fs::write(&definition, "[[order]]\n[[order.group]]\nid = \"test/none\"\n").expect("a file");
    let absent = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;
    let (client, _) = hythe_testing::api_server(move |_, _| Some((404, absent.to_owned())));
    let pods = PodParts {
        cluster: Cluster::over(client, "hythe"),
        settings: PodSettings {
            platform: "hythe".to_owned(),
            namespace: "hythe-builds".to_owned(),
            account: None,
            registry: "127.0.0.1:1".to_owned(),
            plain: true,
            authorities: None,
            registry_namespace: None,
            registry_port: 1,
            start: Duration::from_secs(1),
        },
        access: Arc::new(|_| (String::new(), String::new())),
        pull: PullAccess { user: String::new(), password: String::new() },
        carrier: program.clone(),
    };
    let parts = BuilderParts {
        content: content.clone(),
        stack: stack(content),
        lifecycle: program.clone(),
        launcher: program,
        buildpacks: folder.to_owned(),
        builder: definition,
        limits: BuildLimits::default(),
        network: NetworkSettings::default(),
    };
    Builder::new(parts, Place::Pods(Box::new(pods))).await.expect("a builder")
}

/// A stack of nothing.
fn stack(content: &ContentStore) -> StackImages {
    let image = |kind: &str| {
        let repository: Repository = format!("stacks/none/{kind}").parse().expect("a name");
        let platform =
            hythe_oci::Platform { architecture: "amd64".into(), os: "linux".into(), variant: None };
        let built = ImageBuilder::new(platform).build().expect("an image");
        content.put_blob(&repository, &built.config).expect("a blob");
        let reference = Reference::Digest(built.digest.clone());
        content
            .put_manifest(&repository, &reference, BuiltImage::MEDIA_TYPE, &built.manifest)
            .expect("a manifest");
        let repository = repository.as_str().to_owned();
        StackImage {
            repository,
            tag: "1".into(),
            digest: built.digest,
            config: built.config,
            layers: Vec::new(),
        }
    };
    let user = |name: &str, uid| User { name: name.into(), uid };
    StackImages {
        build: image("build"),
        run: image("run"),
        users: Users { group: "cnb".into(), gid: 1000, build: user("cnb", 1000), run: user("tool", 1001) },
        distro_name: "none".into(),
        distro_version: "1".into(),
    }
}
