//! The file verbs.
//!
//! A guest may have written what lies below a path: trees are removed without following links, however deep they
//! are, and only regular files are read.

use super::disk;
use super::refusal::{Doing, Refusal};
use super::root::{Root, path_of, set_owner};
use crate::wire::MAX_FRAME;
use crate::{ErrorCode, RelPath, Usage};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn make_dir(root: &Root, path: &RelPath, owner: (u32, u32), mode: u32) -> Result<(), Refusal> {
    if let (Some(parent), _) = path.split() {
        root.make_dirs(&parent)?;
    }
    let (at, name) = root.parent(path).doing(path)?;
    match mkdirat(&at, name, Mode::from_bits_truncate(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(Refusal::io(path, &error.into())),
    }
    root.dir(path)?;
    set_owner(at.as_fd(), name, owner, mode).doing(path)
}

pub(super) fn rename(root: &Root, from: &RelPath, to: &RelPath) -> Result<(), Refusal> {
    let (from_at, from_name) = root.parent(from).doing(from)?;
    let (to_at, to_name) = root.parent(to).doing(to)?;
    renameat(from_at, from_name, to_at, to_name).doing(format_args!("{from} to {to}"))
}

pub(super) fn exists(root: &Root, path: &RelPath) -> Result<bool, Refusal> {
    let found = root.parent(path).and_then(|(at, name)| statat(at, name, AtFlags::SYMLINK_NOFOLLOW));
    match found {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(error) => Err(Refusal::io(path, &error.into())),
    }
}

pub(super) fn list(root: &Root, path: &RelPath) -> Result<Vec<String>, Refusal> {
    let folder = match root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        other => other.doing(path)?,
    };
    let mut names = Vec::new();
    for entry in Dir::new(folder).doing(path)? {
        let entry = entry.doing(path)?;
        if let Ok(name) = entry.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn read(root: &Root, path: &RelPath, max: u64) -> Result<Vec<u8>, Refusal> {
    let fd = root.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).doing(path)?;
    let file = File::from(fd);
    if !file.metadata().doing(path)?.is_file() {
        return Err(Refusal::invalid(format!("{path} is not a regular file")));
    }
    let max = max.min(MAX_FRAME as u64);
    let mut content = Vec::new();
    file.take(max + 1).read_to_end(&mut content).doing(path)?;
    if content.len() as u64 > max {
        return Err(Refusal::invalid(format!("{path} is larger than {max} bytes")));
    }
    Ok(content)
}

pub(super) fn write(
    root: &Root,
    path: &RelPath,
    content: &[u8],
    owner: (u32, u32),
    mode: u32,
) -> Result<(), Refusal> {
    let (at, name) = root.parent(path).doing(path)?;
    let temporary = format!(".new-{}", unique());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(&at, temporary.as_str(), flags, Mode::from_bits_truncate(0o600)).doing(path)?;
    let written = File::from(fd)
        .write_all(content)
        .and_then(|()| Ok(set_owner(at.as_fd(), &temporary, owner, mode)?))
        .and_then(|()| Ok(renameat(&at, temporary.as_str(), &at, name)?));
    if written.is_err() {
        let _ = unlinkat(&at, temporary.as_str(), AtFlags::empty());
    }
    written.doing(path)
}

fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn usage(root: &Root, path: &RelPath) -> Result<Usage, Refusal> {
    let (at, name) = root.parent(path).doing(path)?;
    disk::measure(at.as_fd(), name).doing(path)
}

pub(super) fn remove(root: &Root, path: &RelPath) -> Result<(), Refusal> {
    let (at, name) = match root.parent(path) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.doing(path)?,
    };
    let stat = match statat(&at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.doing(path)?,
    };
    let removed = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        open_folder(&at, name)
            .and_then(|folder| empty(&folder))
            .and_then(|()| unlinkat(&at, name, AtFlags::REMOVEDIR))
    } else {
        unlinkat(&at, name, AtFlags::empty())
    };
    match removed {
        Err(Errno::BUSY) => {
            Err(Refusal::new(ErrorCode::Mount, format!("{path}: something is mounted there")))
        }
        other => other.doing(path),
    }
}

fn open_folder(at: &OwnedFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Folders within folders that are held open at a time; deeper ones are moved up first.
const DEPTH: usize = 64;

/// Removes everything in a folder.
fn empty(top: &OwnedFd) -> Result<(), Errno> {
    loop {
        let mut moved = false;
        empty_level(top, top, 0, &mut moved)?;
        if !moved {
            return Ok(());
        }
    }
}

fn empty_level(top: &OwnedFd, folder: &OwnedFd, depth: usize, moved: &mut bool) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => remove_folder(top, folder, name, depth, moved)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn remove_folder(
    top: &OwnedFd,
    folder: &OwnedFd,
    name: &CStr,
    depth: usize,
    moved: &mut bool,
) -> Result<(), Errno> {
    if depth >= DEPTH {
        *moved = true;
        return renameat(folder, name, top, format!(".deep-{}", unique()));
    }
    let below = open_folder(folder, name)?;
    empty_level(top, &below, depth + 1, moved)?;
    unlinkat(folder, name, AtFlags::REMOVEDIR)
}

/// A path by which an open folder is handed to code that wants a path.
pub(super) fn as_path(folder: &OwnedFd) -> std::path::PathBuf {
    path_of(folder).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_any_depth_is_removed_and_links_are_not_followed() {
        let temp = std::env::temp_dir().join(format!("hythe-files-{}", std::process::id()));
        let outside = temp.join("outside");
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("kept"), "x").unwrap();
        let tree = temp.join("tree");
        std::fs::create_dir_all(&tree).unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("link")).unwrap();
        let mut at = rustix::fs::open(&tree, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..700 {
            mkdirat(&at, "d", Mode::from_bits_truncate(0o755)).unwrap();
            openat(&at, "f", OFlags::CREATE | OFlags::WRONLY, Mode::from_bits_truncate(0o600)).unwrap();
            at = open_folder(&at, "d").unwrap();
        }
        let top = rustix::fs::open(&tree, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        empty(&top).unwrap();
        assert_eq!(std::fs::read_dir(&tree).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
        std::fs::remove_dir_all(&temp).unwrap();
    }
}
