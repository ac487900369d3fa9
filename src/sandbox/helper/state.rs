//! What the helper knows: its folder, its children, its sandboxes.

use super::cgroup::Cgroups;
use super::fds::Fds;
use super::network::Spare;
use super::options::Options;
use super::reap::Reaper;
use super::refusal::Refusal;
use super::root::Root;
use crate::{ErrorCode, Exit, ExitCause, HelperInfo, RelPath, SandboxState, SandboxStatus};
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Everything, shared by the threads.
#[derive(Debug)]
pub(super) struct State {
    pub(super) options: Options,
    pub(super) root: Root,
    /// A tmpfs that nobody else sees and that goes with the helper: bundles, `runc`'s state, kept namespaces.
    pub(super) private: PathBuf,
    pub(super) cgroups: Cgroups,
    pub(super) reaper: Arc<Reaper>,
    pub(super) fds: Fds,
    pub(super) info: HelperInfo,
    pub(super) spare: Spare,
    /// Overlays that stay, by target, with their upper folders.
    pub(super) mounts: Mutex<BTreeMap<RelPath, RelPath>>,
    sandboxes: Mutex<BTreeMap<String, Arc<Running>>>,
}

impl State {
    pub(super) fn new(
        options: Options,
        root: Root,
        private: PathBuf,
        cgroups: Cgroups,
        reaper: Arc<Reaper>,
    ) -> Self {
        let info = HelperInfo {
            protocol: crate::wire::PROTOCOL,
            version: env!("CARGO_PKG_VERSION").into(),
            cgroups: cgroups.version().into(),
            started_at: now(),
        };
        let (fds, spare, mounts, sandboxes) = Default::default();
        Self { options, root, private, cgroups, reaper, fds, info, spare, mounts, sandboxes }
    }

    /// Enters a sandbox under its name, which must be new.
    pub(super) fn reserve(&self, running: &Arc<Running>) -> Result<(), Refusal> {
        let mut sandboxes = lock(&self.sandboxes);
        if sandboxes.contains_key(&running.id) {
            return Err(Refusal::new(
                ErrorCode::Exists,
                format!("there is a sandbox `{}` already", running.id),
            ));
        }
        let same =
            |other: &&Arc<Running>| other.upper == running.upper && !other.wait_cleaned(Duration::ZERO);
        if let Some(other) = sandboxes.values().find(same) {
            let why = format!("the sandbox `{}` runs on {} already", other.id, running.upper);
            return Err(Refusal::new(ErrorCode::Exists, why));
        }
        sandboxes.insert(running.id.clone(), Arc::clone(running));
        Ok(())
    }

    pub(super) fn forget(&self, id: &str) {
        lock(&self.sandboxes).remove(id);
    }

    pub(super) fn sandbox(&self, id: &str) -> Result<Arc<Running>, Refusal> {
        let known = lock(&self.sandboxes).get(id).cloned();
        known.ok_or_else(|| Refusal::new(ErrorCode::NotFound, format!("there is no sandbox `{id}`")))
    }

    pub(super) fn all(&self) -> Vec<Arc<Running>> {
        lock(&self.sandboxes).values().cloned().collect()
    }
}

/// One sandbox, from its reservation to its release.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) upper: RelPath,
    pub(super) started_at: u64,
    pub(super) disk_bytes: AtomicU64,
    /// Its first process and its network namespace, once it runs.
    pub(super) handles: OnceLock<Handles>,
    life: Mutex<Life>,
    changed: Condvar,
}

/// Open files that name a running sandbox without doubt, even when its numbers are used again.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) pid: i32,
    pub(super) process: OwnedFd,
    pub(super) network: OwnedFd,
}

#[derive(Debug, Default)]
struct Life {
    started: bool,
    exit: Option<Exit>,
    cleaned: bool,
    ended_by: Option<ExitCause>,
    /// A signal whose default is to end a process, and which has ended this one in our way.
    ended_with: Option<i32>,
}

impl Running {
    pub(super) fn new(id: String, labels: BTreeMap<String, String>, upper: RelPath) -> Self {
        Self {
            id,
            labels,
            upper,
            started_at: now(),
            disk_bytes: AtomicU64::new(0),
            handles: OnceLock::new(),
            life: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Ends it for a reason; the first reason stands. One that is still being put together ends as soon as it runs.
    pub(super) fn end(&self, cause: ExitCause) {
        let mut life = lock(&self.life);
        if life.exit.is_none() {
            life.ended_by.get_or_insert(cause);
            if let Some(handles) = self.handles.get() {
                let _ = pidfd_send_signal(&handles.process, Signal::KILL);
            }
        }
    }

    /// It runs from now on.
    pub(super) fn begin(&self, handles: Handles) {
        let mut life = lock(&self.life);
        if life.ended_by.is_some() {
            let _ = pidfd_send_signal(&handles.process, Signal::KILL);
        }
        let _ = self.handles.set(handles);
        life.started = true;
    }

    /// Why it was ended, where somebody did, and the signal that [`Running::end_with`] stands for.
    pub(super) fn ended_by(&self) -> (Option<ExitCause>, Option<i32>) {
        let life = lock(&self.life);
        (life.ended_by, life.ended_with)
    }

    /// Ends it as `signal` would end any other process.
    pub(super) fn end_with(&self, signal: i32) {
        let mut life = lock(&self.life);
        if let (None, Some(handles)) = (&life.exit, self.handles.get()) {
            life.ended_with.get_or_insert(signal);
            let _ = pidfd_send_signal(&handles.process, Signal::KILL);
        }
    }

    pub(super) fn ended(&self, exit: Exit) {
        lock(&self.life).exit = Some(exit);
        self.changed.notify_all();
    }

    pub(super) fn cleaned(&self) {
        lock(&self.life).cleaned = true;
        self.changed.notify_all();
    }

    pub(super) fn wait(&self, timeout: Duration) -> Option<Exit> {
        let life = lock(&self.life);
        let waited = self.changed.wait_timeout_while(life, timeout, |life| life.exit.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.exit.clone()
    }

    pub(super) fn wait_cleaned(&self, timeout: Duration) -> bool {
        let life = lock(&self.life);
        let waited = self.changed.wait_timeout_while(life, timeout, |life| !life.cleaned);
        waited.unwrap_or_else(PoisonError::into_inner).0.cleaned
    }

    pub(super) fn status(&self) -> SandboxStatus {
        let life = lock(&self.life);
        let state = match (&life.exit, life.started) {
            (Some(exit), _) => SandboxState::Ended { exit: exit.clone() },
            (None, true) => SandboxState::Running,
            (None, false) => SandboxState::Starting,
        };
        SandboxStatus { id: self.id.clone(), labels: self.labels.clone(), state, started_at: self.started_at }
    }

    pub(super) fn disk(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }
}

/// Locks, whatever a thread that panicked has left.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
