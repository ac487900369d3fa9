//! Overlays: image layers below, changes above.
//!
//! Enter at [`mount`]. Folders are named by open files (`/proc/self/fd/N`): that is short, since the option string is
//! limited to a page, holds no character that needs escaping, and cannot be redirected by a link.

use super::files;
use super::refusal::{Doing, Refusal};
use super::root::{Root, path_of};
use crate::{ErrorCode, RelPath};
use rustix::fs::OFlags;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Most lower folders: so many names fit in a page.
const LOWERS: usize = 160;

/// Whether changes must outlast a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// They go with the sandbox: nothing is ever flushed to disk.
    Ephemeral,
    /// They are kept for later.
    Kept,
}

/// Mounts an overlay of `lowers` (the topmost first) and `upper` at `target`, an absolute path that exists.
pub(super) fn mount(
    root: &Root,
    lowers: &[RelPath],
    upper: &RelPath,
    target: &Path,
    durability: Durability,
) -> Result<(), Refusal> {
    if lowers.is_empty() || lowers.len() > LOWERS {
        return Err(Refusal::invalid(format!(
            "an overlay has 1 to {LOWERS} lower folders, not {}",
            lowers.len()
        )));
    }
    let lowers = lowers.iter().map(|lower| root.dir(lower)).collect::<Result<Vec<OwnedFd>, _>>()?;
    let work = work_of(upper)?;
    if durability == Durability::Ephemeral {
        // An overlay that is never flushed marks its work folder, so that nobody takes it for sound after a crash.
        files::remove(root, &work)?;
    }
    let (upper, work) = (root.make_dirs(upper)?, root.make_dirs(&work)?);
    let lowers: Vec<String> = lowers.iter().map(path_of).collect();
    let mut options = format!(
        "userxattr,lowerdir={},upperdir={},workdir={}",
        lowers.join(":"),
        path_of(&upper),
        path_of(&work)
    );
    if durability == Durability::Ephemeral {
        options.push_str(",volatile");
    }
    let options = CString::new(options).map_err(|_| Refusal::invalid("a zero byte in a path"))?;
    rustix::mount::mount("overlay", target, "overlay", MountFlags::NODEV, Some(options.as_c_str()))
        .map_err(|error| Refusal::new(ErrorCode::Mount, format!("overlay at {}: {error}", target.display())))
}

/// Where an overlay keeps its own affairs: beside its upper folder.
pub(super) fn work_of(upper: &RelPath) -> Result<RelPath, Refusal> {
    RelPath::new(format!("{upper}.work")).map_err(|error| Refusal::invalid(error.to_string()))
}

/// Unmounts what is at `target`, at once for new users and for good when the last one is gone.
pub(super) fn unmount(target: &Path) -> Result<(), Refusal> {
    rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(|error| Refusal::new(ErrorCode::Mount, format!("unmounting {}: {error}", target.display())))
}

/// The absolute path of a folder below the root, which is checked to hold no link.
pub(super) fn target(root: &Root, path: &RelPath) -> Result<std::path::PathBuf, Refusal> {
    root.make_dirs(path)?;
    root.open_at(path, OFlags::PATH | OFlags::DIRECTORY).doing(path)?;
    Ok(root.path().join(path))
}
