//! How instances are run: what the operator, the tool's maintainers and its repository have said, put together.

use hythe_model::project::{Liveness, ScaleRange};
use hythe_model::{MountName, ProcessType};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How instances are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSettings {
    /// The port that a web process must listen on; its `$PORT`.
    pub port: u16,
    /// When a web instance counts as ready.
    pub readiness: Readiness,
    /// How long it may take to get ready.
    pub timeout: Duration,
    /// When a ready web instance is taken for dead and started anew.
    pub liveness: Option<Liveness>,
    /// How long its last requests may take once traffic has moved.
    pub drain: Duration,
    /// How long its own shutdown may take after SIGTERM.
    pub grace: Duration,
    /// The longest wait before it is started again after a crash.
    pub backoff: Duration,
    /// What one instance may use.
    pub limits: RunLimits,
    /// What it may reach.
    pub egress: EgressSettings,
    /// Whether its root filesystem is read-only.
    pub read_only: bool,
    /// What is different for some process types.
    pub processes: BTreeMap<ProcessType, ProcessSettings>,
    /// What it reads of the operator's.
    pub mounts: Vec<ReadMount>,
}

/// A folder of the operator's that instances read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMount {
    /// Its name.
    pub name: MountName,
    /// The folder of this machine, where instances run on it.
    pub folder: Option<PathBuf>,
    /// The volume, where they run in a cluster.
    pub volume: Option<Volume>,
}

/// A volume of a cluster that many may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its storage class.
    pub class: String,
    /// The size that is asked for, in bytes.
    pub bytes: u64,
}

impl ReadMount {
    /// Where instances find it.
    pub fn target(&self) -> String {
        format!("/mnt/{}", self.name)
    }
}

/// What is different for a process type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessSettings {
    /// What one instance may use.
    pub limits: Option<RunLimits>,
    /// How long its own shutdown may take after SIGTERM.
    pub grace: Option<Duration>,
    /// Instances by load.
    pub scale: Option<ScaleRange>,
}

impl RunSettings {
    /// What one instance of this type may use.
    pub fn limits_of(&self, kind: &ProcessType) -> &RunLimits {
        self.processes.get(kind).and_then(|own| own.limits.as_ref()).unwrap_or(&self.limits)
    }

    /// How long a shutdown of this type may take after SIGTERM.
    pub fn grace_of(&self, kind: &ProcessType) -> Duration {
        self.processes.get(kind).and_then(|own| own.grace).unwrap_or(self.grace)
    }

    /// The folders of this machine that instances read, by the place where they find them.
    pub fn folders(&self) -> BTreeMap<String, PathBuf> {
        self.mounts.iter().filter_map(|mount| Some((mount.target(), mount.folder.clone()?))).collect()
    }

    /// Between how many instances of this type are run by load.
    pub fn scale_of(&self, kind: &ProcessType) -> Option<ScaleRange> {
        self.processes.get(kind).and_then(|own| own.scale)
    }
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            port: 8080,
            readiness: Readiness::Tcp,
            timeout: Duration::from_mins(1),
            liveness: None,
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            backoff: Duration::from_mins(5),
            limits: RunLimits::default(),
            egress: EgressSettings::default(),
            read_only: false,
            processes: BTreeMap::new(),
            mounts: Vec::new(),
        }
    }
}

/// When a web instance counts as ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It accepts a connection on its port.
    Tcp,
    /// It answers GET of this path with a status of 200 to 399.
    Http {
        /// The path, with its leading slash.
        path: String,
    },
}

impl Readiness {
    /// By this path, or by TCP where there is none.
    pub fn of(path: Option<&String>) -> Self {
        path.map_or(Self::Tcp, |path| Self::Http { path: path.clone() })
    }
}

/// What one instance may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLimits {
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// CPU, thousandths of a core.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub pids: u32,
    /// What it writes to its root, bytes.
    pub disk_bytes: u64,
    /// Open files of a process.
    pub nofile: u64,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, cpu_millis: 1000, pids: 256, disk_bytes: 1 << 30, nofile: 65_536 }
    }
}

/// What an instance may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressSettings {
    /// Whether it reaches the Internet at all.
    pub enabled: bool,
    /// Private ranges opened to it, as CIDR.
    pub allow_private: Vec<String>,
    /// Name servers; the machine's own where empty.
    pub dns: Vec<std::net::IpAddr>,
}

impl Default for EgressSettings {
    fn default() -> Self {
        Self { enabled: true, allow_private: Vec::new(), dns: Vec::new() }
    }
}
