//! The calls into the kernel that Rust cannot check: the only unsafe code of the workspace.
//!
//! Each function is safe to call within what its comment asks; everything else goes through `rustix` and `nix`.

use nix::libc;
use nix::unistd::{ForkResult, Pid};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// Which side of a fork this is.
pub(crate) enum Forked {
    /// The old process, with the new one's id.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Splits a process that has a single thread; any other gets an error, since a child of it could find a lock taken
/// for ever.
pub(crate) fn fork() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("fork of a process with several threads"));
    }
    #[expect(unsafe_code, reason = "fork is sound where there is one thread, which was just checked")]
    let forked = unsafe { nix::unistd::fork()? };
    Ok(match forked {
        ForkResult::Parent { child } => Forked::Parent(child),
        ForkResult::Child => Forked::Child,
    })
}

/// Closes every open file but the standard streams, whatever left them open. To be called first thing in a program,
/// before it owns any.
pub(crate) fn close_inherited_files() {
    #[expect(unsafe_code, reason = "nothing in this process owns a file above standard error yet")]
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
    }
}

/// Whether two threads have one table of open files. Where the kernel cannot tell, they have not.
pub(crate) fn share_files(one: i32, other: i32) -> bool {
    const KCMP_FILES: libc::c_int = 2;
    #[expect(unsafe_code, reason = "kcmp takes numbers alone and changes nothing")]
    let compared = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0_u64, 0_u64) };
    compared == 0
}

/// Waits for a descriptor's readiness without blocking; to be called in an async runtime.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        unsafe_code,
        reason = "an owned descriptor stays open, and the same one, as long as it is watched"
    )]
    let watched = unsafe { AsyncFd::register(fd) };
    watched.map_err(io::Error::from)
}

/// Brings the loopback interface of the calling thread's network namespace up. The socket must belong to it.
pub(crate) fn loopback_up(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    #[expect(unsafe_code, reason = "the request is zeroed, named and outlives both calls")]
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        if libc::ioctl(socket, libc::SIOCGIFFLAGS, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
        #[expect(clippy::cast_possible_truncation, reason = "IFF_UP is 1")]
        let up = libc::IFF_UP as i16;
        request.ifr_ifru.ifru_flags |= up;
        if libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
