//! What the server and the helper say to each other.
//!
//! A connection carries one request at a time: a frame there, a frame back. A frame is two little-endian lengths
//! (JSON, bytes), the JSON, the bytes, and open files attached to its first byte (`SCM_RIGHTS`). Enter at
//! [`Request`], [`Reply`] and [`Frame`]. Frames are bounded; an unknown request is refused, never guessed.

use crate::{ErrorCode, LayerSpec, OverlayMount, RelPath, SandboxSpec};
use hythe_model::TerminalSize;
use hythe_oci::{ApplyOptions, Compression, LayerBounds};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

mod frame;
pub mod text;

pub(crate) use frame::take;
pub use frame::{Frame, Incoming, MAX_FDS, MAX_FRAME, Outgoing, receive, send};

/// Version of this protocol: raised when a server can no longer talk to a helper that was started before it.
pub const PROTOCOL: u32 = 1;

/// What the server asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
#[expect(missing_docs, reason = "each is the method of `Helper` or `Sandbox` of the same name")]
pub enum Request {
    Info,
    Shutdown,
    MakeDir {
        path: RelPath,
        uid: u32,
        gid: u32,
        mode: u32,
    },
    Rename {
        from: RelPath,
        to: RelPath,
    },
    Remove {
        path: RelPath,
    },
    Exists {
        path: RelPath,
    },
    ListDir {
        path: RelPath,
    },
    Read {
        path: RelPath,
        max: u64,
    },
    Write {
        path: RelPath,
        uid: u32,
        gid: u32,
        mode: u32,
    },
    DiskUsage {
        path: RelPath,
    },
    Unpack {
        dest: RelPath,
        options: ApplyOptions,
    },
    Pack {
        spec: LayerSpec,
        compression: Compression,
        #[serde(default)]
        bounds: LayerBounds,
    },
    Fingerprint {
        spec: LayerSpec,
    },
    Mount {
        mount: OverlayMount,
    },
    Unmount {
        target: RelPath,
    },
    Run {
        spec: Box<SandboxSpec>,
        stdio: StdioPlan,
    },
    List,
    Wait {
        id: String,
    },
    Signal {
        id: String,
        signal: i32,
    },
    Kill {
        id: String,
    },
    Release {
        id: String,
    },
    Usage {
        id: String,
    },
    Dial {
        id: String,
    },
    PutFd {
        name: String,
    },
    TakeFd {
        name: String,
    },
    DropFd {
        name: String,
    },
    ListFds,
}

impl Request {
    /// Its name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Shutdown => "shutdown",
            Self::MakeDir { .. } => "making a folder",
            Self::Rename { .. } => "renaming",
            Self::Remove { .. } => "removing",
            Self::Exists { .. } => "looking for a path",
            Self::ListDir { .. } => "listing a folder",
            Self::Read { .. } => "reading a file",
            Self::Write { .. } => "writing a file",
            Self::DiskUsage { .. } => "measuring a folder",
            Self::Unpack { .. } => "unpacking",
            Self::Pack { .. } => "packing a layer",
            Self::Fingerprint { .. } => "fingerprinting a layer",
            Self::Mount { .. } => "mounting",
            Self::Unmount { .. } => "unmounting",
            Self::Run { .. } => "starting a sandbox",
            Self::List => "listing sandboxes",
            Self::Wait { .. } => "waiting for a sandbox",
            Self::Signal { .. } => "signalling a sandbox",
            Self::Kill { .. } => "killing a sandbox",
            Self::Release { .. } => "releasing a sandbox",
            Self::Usage { .. } => "measuring a sandbox",
            Self::Dial { .. } => "dialling a sandbox",
            Self::PutFd { .. } => "keeping an open file",
            Self::TakeFd { .. } => "taking an open file",
            Self::DropFd { .. } => "dropping an open file",
            Self::ListFds => "listing open files",
        }
    }
}

/// [`crate::Stdio`] without its open files, which are attached to the frame: standard input where `stdin` is set,
/// then output and error.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[expect(missing_docs, reason = "mirrors `Stdio`")]
pub enum StdioPlan {
    Fds {
        stdin: bool,
    },
    Log {
        dir: PathBuf,
        segment_bytes: u64,
        segments: u32,
    },
    /// A terminal, whose other end comes back with the answer.
    Terminal {
        size: TerminalSize,
    },
}

/// What the helper answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done; the value is the method's.
    Done(serde_json::Value),
    /// It is not.
    Refused {
        /// The kind of failure.
        code: ErrorCode,
        /// In words.
        message: String,
    },
}
