//! The real machine: instances as sandboxes of the helper.
//!
//! A sandbox says by its labels which instance it is, so that it is found again after a restart of the server. Its root
//! is the image's layers with a writable upper folder of its own; its output goes to files that the helper writes.

use super::image::{self, Image};
use super::leftovers;
use super::machine::{Found, Guest, Machine};
use super::{LocalParts, lines};
use crate::one_off::{OneOff, OneOffSession, OneOffTerminal};
use crate::probe;
use crate::runtime::{ImageName, RunnableRelease, Witness};
use crate::settings::{Readiness, RunLimits};
use crate::status::ExitReason;
use async_trait::async_trait;
use hythe_model::{Fault, InstanceId, ToolName};
use hythe_sandbox::{
    Egress, Exit, ExitCause, Limits, Mount, Network, Process, RelPath, Root, Sandbox, SandboxError,
    SandboxSpec, SandboxState, SandboxStatus, Stdio,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How long what comes next waits until the end of an instance is in its log, and the longest wait between two attempts.
const TOLD: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_mins(1);
const SIGTERM: i32 = 15;
/// Files that an instance's output is kept in until the log store has taken it.
const SEGMENTS: u32 = 8;
/// Room for `/tmp` where the root is read-only.
const TMP: u64 = 64 << 20;

/// What sandboxes write lies here, in a folder each.
const ROOTS: &str = "instances";
/// A sandbox takes less to start.
const STARTING: Duration = Duration::from_mins(10);

/// What a sandbox of this room is for.
const KIND: &str = "hythe.kind";
const INSTANCE: &str = "instance";
const ONE_OFF: &str = "run";
const ID: &str = "hythe.instance";
const IMAGE: &str = "hythe.image";
const REPOSITORY: &str = "hythe.repository";
const LOG: &str = "hythe.log";
const TOOL: &str = "hythe.tool";
const PORT: &str = "hythe.port";
const MEMORY: &str = "hythe.memory";
const DISK: &str = "hythe.disk";
const FOLDERS: &str = "hythe.folders";

/// Sandboxes of the helper.
pub(crate) struct Sandboxes {
    pub(super) parts: LocalParts,
    witness: Arc<dyn Witness>,
    count: AtomicU64,
}

impl Sandboxes {
    /// Nothing started.
    pub(crate) fn new(parts: LocalParts, witness: Arc<dyn Witness>) -> Self {
        Self { parts, witness, count: AtomicU64::new(0) }
    }

    pub(super) async fn image(&self, release: &RunnableRelease) -> Result<Image, Fault> {
        image::open(&self.parts.helper, &self.parts.content, &self.parts.layers, release).await
    }

    /// A name that no sandbox had before.
    pub(super) fn fresh_name(&self, release: &RunnableRelease) -> String {
        let now = micros_now();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{}.{}.{now:x}.{count}", release.release.tool, release.release.number)
    }

    /// Removes the written files of sandboxes that no helper knows any more: it died, or the machine was started anew.
    async fn sweep_roots(&self) -> Result<(), SandboxError> {
        let Ok(folder) = RelPath::new(ROOTS) else { return Ok(()) };
        let helper = &self.parts.helper;
        let names = helper.list_dir(&folder).await?;
        let known: HashSet<String> = helper.list().await?.into_iter().map(|status| status.id).collect();
        let is_stale = |name: &&String| {
            let id = sandbox_of(name);
            !known.contains(id) && !is_fresh(id)
        };
        for name in names.iter().filter(is_stale) {
            if let Ok(path) = folder.join(name) {
                helper.remove(&path).await?;
            }
        }
        Ok(())
    }

    /// Starts an instance, or a run of a job, whose output goes to the tool's log.
    async fn begin(
        &self,
        instance: &InstanceId,
        release: &RunnableRelease,
        args: Vec<String>,
    ) -> Result<Arc<dyn Guest>, Fault> {
        let image = self.image(release).await?;
        let log = leftovers::folder(&self.parts.logs, instance);
        let limits = release.settings.limits_of(&instance.process);
        let mut labels = labels(release, INSTANCE, limits);
        labels.insert(ID.to_owned(), serde_json::to_string(instance).unwrap_or_default());
        labels.insert(LOG.to_owned(), log.to_string_lossy().into_owned());
        let own = [
            ("HYTHE_PROCESS".to_owned(), instance.process.to_string()),
            ("HYTHE_INSTANCE".to_owned(), instance.place.to_string()),
        ];
        let spec = spec(self.fresh_name(release), labels, args, release, image, limits, own)?;
        let labels = spec.labels.clone();
        let segment_bytes = (self.parts.log_bytes / u64::from(SEGMENTS)).max(64 << 10);
        let stdio = Stdio::Log { dir: log.clone(), segment_bytes, segments: SEGMENTS };
        let sandbox = self.parts.helper.run(spec, stdio).await.map_err(|error| not_started(&error))?;
        self.witness.started(instance, &log);
        Ok(Arc::new(self.guest(sandbox, Some(instance.clone()), &labels)))
    }

    fn guest(
        &self,
        sandbox: Sandbox,
        instance: Option<InstanceId>,
        labels: &BTreeMap<String, String>,
    ) -> Guested {
        let number = |name: &str| labels.get(name).and_then(|text| text.parse().ok());
        Guested {
            sandbox,
            log: labels.get(LOG).map(PathBuf::from),
            witness: self.witness.clone(),
            memory: number(MEMORY).unwrap_or(0),
            disk: number(DISK).unwrap_or(0),
            instance,
        }
    }
}

fn micros_now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros()
}

/// The sandbox that a folder belongs to: its upper folder bears its name, the overlay's work folder stands beside it.
fn sandbox_of(folder: &str) -> &str {
    folder.strip_suffix(".work").unwrap_or(folder)
}

/// Whether a sandbox of this name may be on its way: the helper lists it only once it runs.
fn is_fresh(name: &str) -> bool {
    let made = name.rsplit('.').nth(1).and_then(|made| u128::from_str_radix(made, 16).ok());
    made.is_some_and(|made| micros_now().saturating_sub(made) < STARTING.as_micros())
}

#[async_trait]
impl Machine for Sandboxes {
    async fn prepare(&self, release: &RunnableRelease) -> Result<(), Fault> {
        self.image(release).await.map(|_| ())
    }

    async fn start(&self, instance: &InstanceId, release: &RunnableRelease) -> Result<Arc<dyn Guest>, Fault> {
        let args = vec![format!("/cnb/process/{}", instance.process)];
        self.begin(instance, release, args).await
    }

    async fn start_job(
        &self,
        run: &InstanceId,
        release: &RunnableRelease,
        command: Vec<String>,
    ) -> Result<Arc<dyn Guest>, Fault> {
        self.begin(run, release, command).await
    }

    async fn run_once(&self, run: OneOff, cancel: CancellationToken) -> Result<OneOffSession, Fault> {
        super::one_off::start(self, run, cancel).await
    }

    async fn end_one_offs(&self, tool: &ToolName) {
        let all = self.parts.helper.list().await.unwrap_or_else(|error| {
            tracing::warn!(%tool, %error, "one-off processes cannot be listed");
            Vec::new()
        });
        let label = |status: &SandboxStatus, name: &str| status.labels.get(name).cloned().unwrap_or_default();
        let own =
            |status: &&SandboxStatus| label(status, KIND) == ONE_OFF && label(status, TOOL) == tool.as_str();
        for status in all.iter().filter(own) {
            let Ok(Some(sandbox)) = self.parts.helper.attach(&status.id).await else { continue };
            let guest = self.guest(sandbox, None, &status.labels);
            guest.kill().await;
            let exit = guest.exit().await;
            guest.dispose(&exit).await;
        }
    }

    async fn images(&self) -> Result<Vec<ImageName>, Fault> {
        let all = self.parts.helper.list().await.map_err(|error| error.fault())?;
        Ok(all.iter().filter_map(image_of).collect())
    }

    async fn prune(&self, keep: &[ImageName]) -> Result<usize, Fault> {
        self.sweep_roots().await.map_err(|error| error.fault())?;
        let mut diff_ids = HashSet::new();
        for name in keep {
            match image::documents(&self.parts.content, name).await {
                Ok(image) => diff_ids.extend(image.config.rootfs.diff_ids),
                // What is kept must be known whole before anything goes.
                Err(why) => {
                    tracing::error!(repository = name.repository, image = %name.digest, why, "no layer is removed: those of this image are not known");
                    return Ok(0);
                }
            }
        }
        self.parts.layers.prune(&diff_ids).await.map_err(|error| error.fault())
    }

    async fn found(&self) -> Result<Vec<Found>, Fault> {
        let helper = &self.parts.helper;
        self.sweep_roots().await.map_err(|error| error.fault())?;
        let mut all = Vec::new();
        for status in helper.list().await.map_err(|error| error.fault())? {
            let Some(kind) = status.labels.get(KIND) else { continue };
            let instance = (kind == INSTANCE).then(|| instance_of(&status)).flatten();
            let Some(sandbox) = helper.attach(&status.id).await.map_err(|error| error.fault())? else {
                continue;
            };
            let guest = self.guest(sandbox, instance.clone(), &status.labels);
            if let (Some(instance), Some(log)) = (&instance, &guest.log) {
                self.witness.started(instance, log);
            }
            all.push(Found {
                instance,
                image: status.labels.get(IMAGE).cloned(),
                port: status.labels.get(PORT).and_then(|port| port.parse().ok()),
                folders: folders_of(&status.labels),
                running: !matches!(status.state, SandboxState::Ended { .. }),
                guest: Arc::new(guest),
            });
        }
        let known = all.iter().filter_map(|found: &Found| found.instance.as_ref()).collect();
        leftovers::hand_over(&self.parts.logs, &known, &*self.witness).await;
        Ok(all)
    }
}

/// The image of a sandbox that its labels name.
fn image_of(status: &SandboxStatus) -> Option<ImageName> {
    let (repository, digest) = (status.labels.get(REPOSITORY)?, status.labels.get(IMAGE)?);
    Some(ImageName { repository: repository.clone(), digest: digest.parse().ok()? })
}

fn instance_of(status: &SandboxStatus) -> Option<InstanceId> {
    serde_json::from_str(status.labels.get(ID)?).ok()
}

/// The folders that a sandbox reads, by the place where it finds them; `None` where its label cannot be read. One without a label
/// is of a version whose sandboxes read none.
fn folders_of(labels: &BTreeMap<String, String>) -> Option<BTreeMap<String, PathBuf>> {
    labels.get(FOLDERS).map_or(Some(BTreeMap::new()), |text| serde_json::from_str(text).ok())
}

/// The labels that every sandbox of a release bears.
fn labels(release: &RunnableRelease, kind: &str, limits: &RunLimits) -> BTreeMap<String, String> {
    let pairs = [
        (KIND, kind.to_owned()),
        (REPOSITORY, release.repository.clone()),
        (TOOL, release.release.tool.to_string()),
        (PORT, release.settings.port.to_string()),
        ("hythe.release", release.release.number.to_string()),
        (IMAGE, release.release.image.to_string()),
        (MEMORY, limits.memory_bytes.to_string()),
        (DISK, limits.disk_bytes.to_string()),
        (FOLDERS, serde_json::to_string(&release.settings.folders()).unwrap_or_default()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A one-off process of a release.
pub(super) fn one_off_spec(
    sandboxes: &Sandboxes,
    release: &RunnableRelease,
    image: Image,
    args: Vec<String>,
    terminal: Option<&OneOffTerminal>,
) -> Result<SandboxSpec, Fault> {
    let kind = terminal.map(|terminal| ("TERM".to_owned(), terminal.kind.clone()));
    let own = [("HYTHE_PROCESS".to_owned(), ONE_OFF.to_owned())].into_iter().chain(kind);
    let limits = &release.settings.limits;
    spec(sandboxes.fresh_name(release), labels(release, ONE_OFF, limits), args, release, image, limits, own)
}

fn spec(
    id: String,
    labels: BTreeMap<String, String>,
    args: Vec<String>,
    release: &RunnableRelease,
    image: Image,
    limits: &RunLimits,
    own: impl IntoIterator<Item = (String, String)>,
) -> Result<SandboxSpec, Fault> {
    let settings = &release.settings;
    let path = RelPath::new(format!("{ROOTS}/{id}"));
    let upper = path.map_err(|error| crate::fault::bad_image(&release.release, error.to_string()))?;
    let tmp = settings.read_only.then(|| Mount::Tmpfs { target: "/tmp".to_owned(), size: TMP });
    let folders = settings.folders().into_iter();
    let read = folders.map(|(target, source)| Mount::Bind { source, target, read_only: true });
    let files = release.files.iter().map(|file| Mount::File {
        target: file.place.to_string(),
        content: file.content.clone().into_bytes(),
        mode: 0o444,
    });
    let egress = settings.egress.clone();
    Ok(SandboxSpec {
        id,
        labels,
        root: Root { lowers: image.lowers, upper, read_only: settings.read_only },
        mounts: tmp.into_iter().chain(read).chain(files).collect(),
        process: Process {
            args,
            env: environment(release, image.env, own),
            cwd: image.cwd,
            uid: image.user.0,
            gid: image.user.1,
        },
        hostname: release.release.tool.to_string(),
        limits: Limits {
            memory_bytes: limits.memory_bytes,
            cpu_millis: limits.cpu_millis,
            pids: limits.pids,
            disk_bytes: limits.disk_bytes,
            wall: None,
            output_bytes: None,
            nofile: limits.nofile,
        },
        network: Network::Private {
            egress: Egress { enabled: egress.enabled, allow_private: egress.allow_private, dns: egress.dns },
        },
    })
}

/// The image's environment, over it the config's, over both the platform's own.
fn environment(
    release: &RunnableRelease,
    image: Vec<(String, String)>,
    own: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let platform = [
        ("PORT".to_owned(), release.settings.port.to_string()),
        ("HYTHE_TOOL".to_owned(), release.release.tool.to_string()),
        ("HYTHE_RELEASE".to_owned(), release.release.number.to_string()),
    ];
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, value) in image.into_iter().chain(release.env.clone()).chain(platform).chain(own) {
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some(pair) => pair.1 = value,
            None => env.push((name, value)),
        }
    }
    env
}

pub(super) fn not_started(error: &SandboxError) -> Fault {
    let fault = error.fault();
    Fault {
        id: "rollout/not-started".to_owned(),
        what: "The release failed: no sandbox could be started.".to_owned(),
        ..fault
    }
}

/// How a sandbox ended, in this room's words.
pub(super) fn reason(exit: &Exit, memory: u64, disk: u64, last_lines: Vec<String>) -> ExitReason {
    let why = match exit.cause {
        ExitCause::TimedOut => Some("it ran too long".to_owned()),
        ExitCause::OutputTooLong => Some("it printed too much".to_owned()),
        ExitCause::Exited | ExitCause::OutOfMemory | ExitCause::DiskFull | ExitCause::Killed => None,
    };
    ExitReason {
        code: exit.code,
        signal: exit.signal,
        memory_limit: (exit.cause == ExitCause::OutOfMemory).then_some(memory),
        disk_limit: (exit.cause == ExitCause::DiskFull).then_some(disk),
        ended_because: why,
        millis: u64::try_from(exit.ran.as_millis()).unwrap_or(u64::MAX),
        last_lines,
    }
}

/// A sandbox as an instance.
struct Guested {
    sandbox: Sandbox,
    instance: Option<InstanceId>,
    log: Option<PathBuf>,
    witness: Arc<dyn Witness>,
    memory: u64,
    disk: u64,
}

impl Guested {
    /// Waits for the end. That this process has no descriptor left for the question is no answer to it.
    async fn waited(&self) -> Result<Exit, SandboxError> {
        loop {
            match self.sandbox.wait().await {
                Err(SandboxError::Connect { source, .. }) if is_scarcity(&source) => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                known => return known,
            }
        }
    }

    fn warn(&self, operation: &str, result: Result<(), SandboxError>) {
        if let Err(error) = result {
            tracing::warn!(sandbox = self.sandbox.id(), %error, "cannot {operation} an instance");
        }
    }
}

#[async_trait]
impl Guest for Guested {
    async fn exit(&self) -> ExitReason {
        match self.waited().await {
            Ok(exit) => reason(&exit, self.memory, self.disk, self.last_lines().await),
            Err(error) => {
                tracing::error!(sandbox = self.sandbox.id(), %error, "an instance was lost");
                // Whatever is wrong with the helper, asking it again at once does not mend it.
                tokio::time::sleep(Duration::from_millis(200)).await;
                let ended_because = Some(format!("lost: {error}"));
                ExitReason { ended_because, last_lines: self.last_lines().await, ..ExitReason::default() }
            }
        }
    }

    async fn terminate(&self) {
        self.warn("stop", self.sandbox.signal(SIGTERM).await);
    }

    async fn kill(&self) {
        self.warn("end", self.sandbox.kill().await);
    }

    async fn probe(&self, readiness: &Readiness, port: u16) -> Result<(), String> {
        let tool = self.instance.as_ref().map_or("localhost", |id| id.tool.as_str());
        probe::probe(self.dial(port), readiness, tool).await
    }

    async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        TcpStream::from_std(self.sandbox.dial(port).await?)
    }

    async fn last_lines(&self) -> Vec<String> {
        let Some(log) = self.log.clone() else { return Vec::new() };
        tokio::task::spawn_blocking(move || lines::last_lines(&log)).await.unwrap_or_default()
    }

    async fn dispose(&self, exit: &ExitReason) {
        self.warn("forget", self.sandbox.release().await);
        let (Some(instance), Some(log)) = (self.instance.clone(), self.log.clone()) else { return };
        let (tried, first_try) = oneshot::channel();
        tokio::spawn(tell_end(self.witness.clone(), instance, log, exit.clone(), tried));
        // What comes next does not wait for a log that cannot be written.
        let _ = tokio::time::timeout(TOLD, first_try).await;
    }
}

/// Says of an instance that it has ended, until that is kept, and removes what is left of its output then. `tried` is dropped once
/// that was said.
async fn tell_end(
    witness: Arc<dyn Witness>,
    instance: InstanceId,
    log: PathBuf,
    exit: ExitReason,
    tried: oneshot::Sender<()>,
) {
    let (at, mut pause, mut tried) = (Some(Timestamp::now()), TOLD, Some(tried));
    while !witness.ended(&instance, &exit, at).await {
        tried.take();
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SELDOM);
        // What could not be read of it is read then.
        witness.started(&instance, &log);
    }
    if let Err(error) = tokio::fs::remove_dir_all(&log).await {
        tracing::warn!(log = %log.display(), %error, "cannot remove an instance's log");
    }
}

/// Whether it is this machine that lacks descriptors or memory.
fn is_scarcity(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sandbox_reads_stands_in_its_label() {
        let mut release = crate::local::testing::release("weather", 4, "web=1");
        let of = |release: &RunnableRelease| labels(release, INSTANCE, &release.settings.limits);
        assert_eq!(folders_of(&of(&release)), Some(release.settings.folders()), "none");
        let mount = crate::ReadMount {
            name: "dumps".parse().unwrap(),
            folder: Some("/srv/dumps".into()),
            volume: None,
        };
        release.settings.mounts = vec![mount];
        assert_eq!(release.settings.folders().len(), 1);
        let mut labels = of(&release);
        assert_eq!(folders_of(&labels), Some(release.settings.folders()));
        labels.insert(FOLDERS.to_owned(), "{".to_owned());
        assert_eq!(folders_of(&labels), None, "whatever it is, it is not kept");
        // As before there were folders to read: it is kept where none are read now.
        labels.remove(FOLDERS);
        assert_eq!(folders_of(&labels), Some(BTreeMap::new()));
    }

    #[test]
    fn folders_of_a_sandbox_that_is_on_its_way_are_nobody_elses() {
        let now = micros_now();
        let name = |made: u128| format!("weather.v4.{made:x}.3");
        for folder in [name(now), format!("{}.work", name(now))] {
            assert_eq!(sandbox_of(&folder), name(now));
            assert!(is_fresh(sandbox_of(&folder)), "{folder}");
        }
        let old = name(now - 2 * STARTING.as_micros());
        assert!(!is_fresh(sandbox_of(&format!("{old}.work"))));
        assert!(!is_fresh("weather") && !is_fresh("weather.v4"));
    }
}
