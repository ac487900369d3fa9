//! The terminal of a sandbox: `runc` makes it inside and passes its other end out over a socket (`--console-socket`).
//!
//! Enter at [`Console::offer`]. The socket lies in the bundle, a folder that nobody else sees.

use super::refusal::{Doing, Refusal};
use super::root::path_of;
use crate::{ErrorCode, wire};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// The socket's name in the bundle. `runc` works there, so that it finds it by this name, however long the path is.
const NAME: &str = "console";

/// A socket on which a terminal will arrive.
pub(super) struct Console(UnixListener);

impl Console {
    /// Makes the socket and tells `runc` of it.
    pub(super) fn offer(runc: &mut Command, bundle: &Path) -> Result<Self, Refusal> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(bundle, flags, Mode::empty()).doing("the bundle")?;
        let listener =
            UnixListener::bind(format!("{}/{NAME}", path_of(&folder))).doing("a socket for the terminal")?;
        listener.set_nonblocking(true).doing("a socket for the terminal")?;
        runc.current_dir(bundle).args(["--console-socket", NAME]);
        Ok(Self(listener))
    }

    /// The terminal's other end. `runc` has sent it before it says that the process runs.
    pub(super) fn taken(self) -> Result<OwnedFd, Refusal> {
        let (stream, _) = self.0.accept().doing("the sandbox's terminal")?;
        stream.set_nonblocking(true).doing("the sandbox's terminal")?;
        // Its name inside comes along, which nobody needs.
        let (mut name, mut fds) = ([0; 256], Vec::new());
        wire::take(&stream, &mut name, &mut fds).doing("the sandbox's terminal")?;
        fds.pop().ok_or_else(|| Refusal::new(ErrorCode::Runtime, "runc sent no terminal"))
    }
}
