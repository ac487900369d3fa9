//! The helper's folder, opened so that no link of a guest's making leads out of it.
//!
//! Enter at [`Root::dir`] and [`Root::parent`]. Every component is opened by `openat2` without following links;
//! what is done then is done relative to the open folder.

use super::refusal::{Doing, Refusal};
use crate::RelPath;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, openat2};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The open folder.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let complain =
            |what: &str, error: &dyn std::fmt::Display| format!("{what} {}: {error}", path.display());
        std::fs::create_dir_all(path).map_err(|error| complain("cannot make", &error))?;
        let path = path.canonicalize().map_err(|error| complain("cannot resolve", &error))?;
        let metadata = path.metadata().map_err(|error| complain("cannot look at", &error))?;
        if metadata.uid() != 0 {
            return Err(complain("the server's user does not own", &"give it to that user"));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| complain("cannot open", &error))?;
        Ok(Self { fd, path })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what `path` names, links excepted.
    pub(super) fn open_at(&self, path: &RelPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_below(&self.fd, path.as_str(), flags)
    }

    /// Opens a folder as a place only (`O_PATH`).
    pub(super) fn dir(&self, path: &RelPath) -> Result<OwnedFd, Refusal> {
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY).doing(path)
    }

    /// Opens the folder above `path`.
    pub(super) fn parent<'a>(&self, path: &'a RelPath) -> Result<(OwnedFd, &'a str), Errno> {
        let (parent, name) = path.split();
        let fd = match parent {
            Some(parent) => self.open_at(&parent, OFlags::PATH | OFlags::DIRECTORY)?,
            None => rustix::io::fcntl_dupfd_cloexec(&self.fd, 3)?,
        };
        Ok((fd, name))
    }

    /// Opens a folder; makes it and those above it when missing, as root's with mode 0755.
    pub(super) fn make_dirs(&self, path: &RelPath) -> Result<OwnedFd, Refusal> {
        let mut at = rustix::io::fcntl_dupfd_cloexec(&self.fd, 3).doing(path)?;
        for name in path.as_str().split('/') {
            match mkdirat(&at, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(Refusal::io(path, &error.into())),
            }
            at = open_below(&at, name, OFlags::PATH | OFlags::DIRECTORY).doing(path)?;
        }
        Ok(at)
    }
}

fn open_below(at: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(at, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// A path by which this process reaches an open file; it takes a handful of bytes, and no link is on the way.
pub(super) fn path_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Gives a name in an open folder to an owner and sets its permission bits; a link is never followed.
pub(super) fn set_owner(at: BorrowedFd<'_>, name: &str, owner: (u32, u32), mode: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(at, name, flags, Mode::empty())?;
    rustix::fs::chmod(path_of(&fd), Mode::from_bits_truncate(mode & 0o7777))
}
