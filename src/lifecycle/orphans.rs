//! Orphans: as process 1 of the sandbox the lifecycle inherits what buildpacks leave behind, and must take leave of it.
//!
//! Enter at [`spawn`], which keeps a buildpack's own process from being taken for an orphan, and [`watch`].

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two looks. A zombie takes a place among the build's processes and nothing else.
const PAUSE: Duration = Duration::from_millis(100);

/// The processes that are waited for. Held while one is started: where it cannot be executed, the standard library waits
/// for it by itself.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn own() -> MutexGuard<'static, BTreeSet<u32>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a program whose end is asked for by [`wait`].
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut own = own();
    let child = command.spawn()?;
    own.insert(child.id());
    Ok(child)
}

/// Waits for its end.
pub(crate) fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let status = child.wait();
    own().remove(&child.id());
    status
}

/// Takes leave of orphans from now on; does nothing where they go to another process.
pub(crate) fn watch() {
    if std::process::id() == 1 {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(PAUSE);
                reap();
            }
        });
    }
}

/// Takes leave of every orphan that has ended. The kernel names the dead one by one: behind one that another thread is
/// about to wait for, the rest come at the next look.
fn reap() {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        let own = own();
        let Some(pid) = waitid(Id::All, look).ok().and_then(|dead| dead.pid()) else { return };
        if own.contains(&pid.as_raw().cast_unsigned()) || waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_go_and_what_is_waited_for_stays() {
        let mut known = spawn(Command::new("sh").args(["-c", "exit 7"])).unwrap();
        let mut orphan = Command::new("true").spawn().unwrap();
        let status = std::thread::scope(|scope| {
            let waited = scope.spawn(|| wait(&mut known).unwrap());
            for _ in 0..200 {
                std::thread::sleep(Duration::from_millis(10));
                reap();
            }
            waited.join().unwrap()
        });
        assert_eq!(status.code(), Some(7));
        assert!(orphan.wait().is_err(), "nobody has taken leave of the orphan");
    }
}
