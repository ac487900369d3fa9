//! Watches a sandbox to its end, and takes it down.
//!
//! Enter at [`start`]: one thread a sandbox.

use super::deleted;
use super::disk::Watch;
use super::network::Wire;
use super::pump::Pump;
use super::reap::Ended;
use super::run::runc;
use super::state::{Running, State, lock};
use crate::{Exit, ExitCause, Limits};
use rustix::mount::UnmountFlags;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Time between two looks at a sandbox that runs.
const TICK: Duration = Duration::from_millis(100);
/// How long a caller that does not read its output holds up the news of the end.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(5);

/// A sandbox that has been started.
pub(super) struct Job {
    pub(super) state: Arc<State>,
    pub(super) running: Arc<Running>,
    pub(super) limits: Limits,
    pub(super) watched: Vec<OwnedFd>,
    pub(super) pid: i32,
    pub(super) pump: Option<Pump>,
    pub(super) wire: Option<Wire>,
    pub(super) folder: PathBuf,
    pub(super) begun: Instant,
}

/// Starts the thread that watches. Where there is none, the network is given back for taking down.
pub(super) fn start(job: Job) -> Result<(), (std::io::Error, Option<Wire>)> {
    let slot = Arc::new(Mutex::new(Some(job)));
    let theirs = Arc::clone(&slot);
    let thread = std::thread::Builder::new().name("supervise".into());
    let started = thread.spawn(move || {
        if let Some(job) = lock(&theirs).take() {
            watch(job);
        }
    });
    started.map(drop).map_err(|error| (error, lock(&slot).take().and_then(|job| job.wire)))
}

fn watch(mut job: Job) {
    let watch = Watch::new(std::mem::take(&mut job.watched), job.limits.disk_bytes);
    let ended = wait(&job, watch);
    let ran = job.begun.elapsed();
    // The counter goes with the group: it is read before anything is taken down.
    let oom_kills = job.state.cgroups.oom_kills(&job.running.id);
    if let Some(pump) = job.pump.take() {
        pump.join(OUTPUT_PATIENCE);
    }
    job.running.ended(exit(ended, job.running.ended_by(), oom_kills, ran));
    take_down(&job.state, &job.running.id, &job.folder, job.wire.take());
    job.running.cleaned();
}

fn wait(job: &Job, mut watch: Watch) -> Ended {
    loop {
        if let Some(ended) = job.state.reaper.wait(job.pid, TICK) {
            return ended;
        }
        if job.limits.wall.is_some_and(|wall| job.begun.elapsed() > wall) {
            job.running.end(ExitCause::TimedOut);
        }
        if watch.look(|| deleted::processes(&job.state.cgroups, &job.running.id, job.pid)) {
            job.running.end(ExitCause::DiskFull);
        }
        job.running.disk_bytes.store(watch.used(), Ordering::Relaxed);
    }
}

/// Tells why it ended. Whoever ended it on purpose is the cause; else a process killed for memory is, unless all went
/// well nevertheless.
fn exit(ended: Ended, ended_by: (Option<ExitCause>, Option<i32>), oom_kills: u64, ran: Duration) -> Exit {
    let (ended_by, ended_with) = ended_by;
    let (code, signal) = match ended {
        Ended::Code(code) => (Some(code), None),
        // Killed in our way of carrying out a signal that process 1 does not receive.
        Ended::Signal(9) if ended_by.is_none() && oom_kills == 0 => (None, ended_with.or(Some(9))),
        Ended::Signal(signal) => (None, Some(signal)),
    };
    let cause = match ended_by {
        Some(cause) if signal == Some(9) => cause,
        _ if oom_kills > 0 && code != Some(0) => ExitCause::OutOfMemory,
        _ => ExitCause::Exited,
    };
    Exit { code, signal, cause, ran }
}

/// Removes everything that was made for a sandbox but its changes.
pub(super) fn take_down(state: &State, id: &str, folder: &Path, wire: Option<Wire>) {
    if state.private.join("runc").join(id).exists() {
        let _ = state.reaper.run_to_end(runc(state).args(["delete", "--force", id]), Duration::from_secs(30));
    }
    if let Some(wire) = wire {
        wire.close(&state.reaper);
    }
    state.cgroups.remove(id);
    // Only what could be unmounted is removed: a mount that stays must not be emptied through its own name.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for place in entries.map(|entry| entry.path()) {
        while rustix::mount::unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
        let _ = std::fs::remove_dir(&place).or_else(|_| std::fs::remove_file(&place));
    }
    let _ = std::fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_apart() {
        let ran = Duration::from_secs(1);
        let cause = |ended, by, kills| exit(ended, (by, None), kills, ran).cause;
        assert_eq!(cause(Ended::Code(0), None, 0), ExitCause::Exited);
        assert_eq!(cause(Ended::Signal(9), None, 0), ExitCause::Exited);
        assert_eq!(cause(Ended::Signal(9), None, 1), ExitCause::OutOfMemory);
        assert_eq!(cause(Ended::Code(137), None, 1), ExitCause::OutOfMemory);
        assert_eq!(cause(Ended::Code(0), None, 3), ExitCause::Exited);
        assert_eq!(cause(Ended::Signal(9), Some(ExitCause::TimedOut), 1), ExitCause::TimedOut);
        assert_eq!(exit(Ended::Signal(9), (None, Some(15)), 0, ran).signal, Some(15));
        // It ended by itself before the signal arrived.
        assert_eq!(cause(Ended::Code(0), Some(ExitCause::TimedOut), 0), ExitCause::Exited);
    }
}
