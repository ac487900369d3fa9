//! Signals to a sandbox.
//!
//! Enter at [`send`]. The first process of a sandbox is process 1 of its PID namespace, to which the kernel delivers no
//! signal that it has no handler for: a program that is ended by SIGTERM anywhere else would ignore it here. What the
//! kernel leaves out is made up for.

use super::refusal::Refusal;
use super::state::{Handles, Running, State};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

/// Sends a signal to the first process. Where that has no handler for one that ends processes, it is ended if it is
/// alone, as any process would be; else the others, its children, get the signal, and it ends when it sees them gone.
pub(super) fn send(state: &State, id: &str, number: i32) -> Result<(), Refusal> {
    let running = state.sandbox(id)?;
    let signal = Signal::from_named_raw(number)
        .ok_or_else(|| Refusal::invalid(format!("{number} is not a signal")))?;
    let Some(handles) = running.handles.get() else { return Ok(()) };
    let ends = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT].contains(&signal);
    if ends && is_default(handles, number) {
        make_up(state, &running, handles, number);
        return Ok(());
    }
    match pidfd_send_signal(&handles.process, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(Refusal::io("the signal", &error.into())),
    }
}

fn make_up(state: &State, running: &Running, handles: &Handles, number: i32) {
    let others = state.cgroups.processes(&running.id).into_iter().filter(|pid| *pid != handles.pid);
    let others: Vec<i32> = others.collect();
    if others.is_empty() {
        running.end_with(number);
    }
    for pid in others {
        let _ = kill(Pid::from_raw(pid), nix::sys::signal::Signal::try_from(number).ok());
    }
}

/// Whether the process neither handles, ignores nor holds back the signal.
fn is_default(handles: &Handles, number: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", handles.pid)).unwrap_or_default();
    let bit = 1_u64 << (number - 1);
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
    };
    let masks = ["SigCgt:", "SigIgn:", "SigBlk:"].map(mask);
    masks.iter().all(|mask| mask.is_some_and(|mask| mask & bit == 0))
}
