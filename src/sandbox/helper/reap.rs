//! Children: process 1 of a PID namespace inherits every orphan in it and must take leave of all of them.
//!
//! Enter at [`Reaper::spawn`] and [`Reaper::wait`]. One thread waits for everybody; nobody else calls `wait`.

use super::refusal::Refusal;
use crate::ErrorCode;
use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// How long the end of a process that nobody has asked for yet is remembered.
const REMEMBERED: Duration = Duration::from_mins(2);
/// How often a thread without children looks for new ones.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Reaper {
    ended: Mutex<HashMap<i32, (Ended, Instant)>>,
    changed: Condvar,
    /// Held while a program is started: where it cannot be executed, the standard library waits for it by itself.
    spawning: Mutex<()>,
}

impl Reaper {
    /// Starts the thread that waits.
    pub(super) fn start() -> std::io::Result<Arc<Self>> {
        let reaper = Arc::new(Self::default());
        let own = Arc::clone(&reaper);
        std::thread::Builder::new().name("reaper".into()).spawn(move || own.run())?;
        Ok(reaper)
    }

    fn run(&self) -> ! {
        loop {
            // Looks without reaping, so that the lock is not held while there is nobody to reap.
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(_) => self.reap(),
                Err(Errno::EINTR) => {}
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn reap(&self) {
        let _spawning = self.spawning.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = self.lock();
        loop {
            let (pid, how) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ended::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ended::Signal(signal as i32)),
                _ => break,
            };
            ended.insert(pid.as_raw(), (how, Instant::now()));
        }
        ended.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, (Ended, Instant)>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program; its end is to be asked for by [`Reaper::wait`] within two minutes of it.
    pub(super) fn spawn(&self, command: &mut Command) -> std::io::Result<i32> {
        let _spawning = self.spawning.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(std::io::Error::other)?;
        self.lock().remove(&pid);
        Ok(pid)
    }

    /// Waits for the end of a child, or of an orphan that became one; `None` when `timeout` passes first.
    pub(super) fn wait(&self, pid: i32, timeout: Duration) -> Option<Ended> {
        let (mut ended, _) = self
            .changed
            .wait_timeout_while(self.lock(), timeout, |ended| !ended.contains_key(&pid))
            .unwrap_or_else(PoisonError::into_inner);
        ended.remove(&pid).map(|(how, _)| how)
    }

    /// Runs a program to its end; kills it after `timeout`.
    pub(super) fn run_to_end(&self, command: &mut Command, timeout: Duration) -> Result<Ended, Refusal> {
        let name = command.get_program().to_string_lossy().into_owned();
        let missing = |error| Refusal::new(ErrorCode::Unsupported, format!("cannot run {name}: {error}"));
        let pid = self.spawn(command).map_err(missing)?;
        if let Some(ended) = self.wait(pid, timeout) {
            return Ok(ended);
        }
        kill(pid);
        self.wait(pid, Duration::from_secs(5));
        Err(Refusal::new(ErrorCode::Runtime, format!("{name} did not end within {} s", timeout.as_secs())))
    }
}

/// Kills a child of this process that has not been waited for.
pub(super) fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}
