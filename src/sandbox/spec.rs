//! What runs in a sandbox, within which limits, and how it ended.
//!
//! Enter at [`SandboxSpec`]. Everything here crosses the socket as JSON, open files apart.

use crate::RelPath;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// A process to run, its file system, limits and network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Its name in the helper: 1 to 80 of lower-case letters, digits, `.`, `_` and `-`, starting with a letter or digit.
    pub id: String,
    /// Whatever the caller wants to find again by [`crate::Helper::list`].
    pub labels: BTreeMap<String, String>,
    /// Its root file system.
    pub root: Root,
    /// What is mounted in it, in this order, after the defaults (`/proc`, `/dev`, `/sys`, `/etc/resolv.conf`, ...).
    pub mounts: Vec<Mount>,
    /// The process.
    pub process: Process,
    /// Its host name.
    pub hostname: String,
    /// What it may use.
    pub limits: Limits,
    /// What it may reach.
    pub network: Network,
}

/// A root file system put together by overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The image's unpacked layers, the topmost first.
    pub lowers: Vec<RelPath>,
    /// Where changes go; made when missing. `<upper>.work` beside it is the overlay's own. Removed by
    /// [`crate::Sandbox::release`].
    pub upper: RelPath,
    /// Whether the process can change nothing but what is mounted.
    pub read_only: bool,
}

/// Something mounted into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Mount {
    /// A file or folder of the machine.
    Bind {
        /// Absolute: a path of the machine. Relative: a path below the helper's folder.
        source: PathBuf,
        /// Where it appears.
        target: String,
        /// Whether it cannot be changed through the mount.
        read_only: bool,
    },
    /// Memory as a folder that belongs to the sandbox's user.
    Tmpfs {
        /// Where it appears.
        target: String,
        /// Most bytes in it; they count as the sandbox's memory too.
        size: u64,
    },
    /// A read-only file with this content.
    File {
        /// Where it appears.
        target: String,
        /// Its bytes.
        #[serde(with = "crate::wire::text")]
        content: Vec<u8>,
        /// Permission bits, as in `0o644`; it belongs to root.
        mode: u32,
    },
}

impl Mount {
    /// Where it appears.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } | Self::File { target, .. } => target,
        }
    }
}

/// A program with its arguments and surroundings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments; a bare name is looked up in `PATH`.
    pub args: Vec<String>,
    /// Environment; `PATH` has a default.
    pub env: Vec<(String, String)>,
    /// Working directory, absolute; made when missing.
    pub cwd: String,
    /// User, as the image counts.
    pub uid: u32,
    /// Group, as the image counts.
    pub gid: u32,
}

/// What a sandbox may use. All of it holds; see each for how closely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes, page cache and tmpfs included; beyond it a process of the sandbox is killed.
    pub memory_bytes: u64,
    /// Thousandths of a CPU.
    pub cpu_millis: u32,
    /// Processes and threads at one time.
    pub pids: u32,
    /// Bytes on disk: the root's upper folder, every writable bind below the helper's folder, and deleted files that
    /// are still open; 4 KiB an entry at least. Watched, not
    /// enforced by the file system: what is written between two looks (0.1 s where little space is left on the disk
    /// or much was written, 2 s at most) can exceed it.
    pub disk_bytes: u64,
    /// Longest run.
    pub wall: Option<Duration>,
    /// Most bytes of standard output and standard error together; beyond it the sandbox is killed.
    pub output_bytes: Option<u64>,
    /// Open files a process, as far as the server itself may have so many.
    pub nofile: u64,
}

impl Default for Limits {
    /// 512 MiB of memory, one CPU, 256 processes, 2 GiB of disk, no end, 1024 files.
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            cpu_millis: 1000,
            pids: 256,
            disk_bytes: 2 << 30,
            wall: None,
            output_bytes: None,
            nofile: 1024,
        }
    }
}

/// What a sandbox may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Network {
    /// Itself only, by loopback. It can still be dialled.
    #[default]
    None,
    /// A network namespace of its own with a guarded way out.
    Private {
        /// The way out.
        egress: Egress,
    },
}

/// The way out of a sandbox: the Internet, never the machine, its networks or another sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// Whether there is one.
    pub enabled: bool,
    /// Networks that are opened although they are private, as in `10.1.0.0/16` or `fd00:1::/64`.
    pub allow_private: Vec<String>,
    /// Resolvers that answer the sandbox's questions; the machine's own where empty.
    pub dns: Vec<IpAddr>,
}

/// Where a sandbox's standard streams go.
#[derive(Debug)]
pub enum Stdio {
    /// To open files or pipes of the caller. Where the spec limits output, the helper copies and counts.
    Fds {
        /// Standard input; `/dev/null` where absent.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// To files that the helper writes, whether the server runs or not: `0000000001.log`, `0000000002.log`, ...
    /// in `dir`, each line as `<nanoseconds since 1970> <o|e> <text>\n`. A line longer than 16 KiB is cut into several.
    Log {
        /// An absolute path; made when missing.
        dir: PathBuf,
        /// A new file is begun after so many bytes.
        segment_bytes: u64,
        /// So many files are kept; the oldest is removed.
        segments: u32,
    },
}

/// An overlay that stays until [`crate::Helper::unmount`], seen by the helper and by sandboxes that bind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayMount {
    /// What lies below, the topmost first.
    pub lowers: Vec<RelPath>,
    /// Where changes go; made when missing. `<upper>.work` beside it is the overlay's own.
    pub upper: RelPath,
    /// Where the merged view appears; made when missing.
    pub target: RelPath,
}

/// How a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, where the process ended by itself.
    pub code: Option<i32>,
    /// Signal, where one ended it.
    pub signal: Option<i32>,
    /// Why it ended.
    pub cause: ExitCause,
    /// From start to end.
    pub ran: Duration,
}

impl Exit {
    /// Whether it ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.cause == ExitCause::Exited && self.code == Some(0)
    }
}

/// Why a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitCause {
    /// By itself, or by a signal of its own making.
    Exited,
    /// The memory limit: the kernel killed a process of it, and it did not end well.
    OutOfMemory,
    /// The disk limit.
    DiskFull,
    /// The wall time.
    TimedOut,
    /// The output limit.
    OutputTooLong,
    /// [`crate::Sandbox::kill`], [`crate::Sandbox::release`] or the helper's shutdown.
    Killed,
}

/// Where a sandbox is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum SandboxState {
    /// Being put together.
    Starting,
    /// Running.
    Running,
    /// Ended, and not yet released.
    Ended {
        /// How.
        exit: Exit,
    },
}

/// A sandbox that the helper knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// Its name.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it is in its life.
    pub state: SandboxState,
    /// When it was started, in nanoseconds since 1970.
    pub started_at: u64,
}

/// Bytes and entries below a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes on disk, counted in blocks.
    pub bytes: u64,
    /// Files, folders and links.
    pub files: u64,
}

/// What a sandbox uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceUsage {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The most memory it ever had.
    pub memory_peak_bytes: u64,
    /// CPU time in microseconds.
    pub cpu_micros: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes on disk, as of the last look.
    pub disk_bytes: u64,
}

/// What the helper says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelperInfo {
    /// Version of the protocol that it speaks.
    pub protocol: u32,
    /// Version of the program.
    pub version: String,
    /// `v1`, `v2` or, where limits of memory, CPU and processes do not hold, `none`.
    pub cgroups: String,
    /// When it started, in nanoseconds since 1970.
    pub started_at: u64,
}
