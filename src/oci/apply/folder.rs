//! The folder that an archive is applied to: makes entries in it and nowhere else.
//!
//! Paths are resolved by the kernel with the folder as root; the last name is never followed. Folders get their modes and
//! times at the end, as their contents would be in the way of one and change the other.

use super::archive::Member;
use super::{ApplyError, Ownership, printable, refused};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most names in a path.
const MAX_DEPTH: usize = 256;
/// Most bytes of a path.
const MAX_PATH: usize = 4095;
/// Most bytes of a name.
const MAX_NAME: usize = 255;
/// Most bytes of memory for the folders whose modes and times are still to be set.
const MAX_NOTED: usize = 64 << 20;
/// What a folder takes there besides its path.
const NOTE: usize = 64;
/// Names that are read of a folder before they are removed.
const BATCH: usize = 4096;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_ATTRIBUTE: &str = "user.overlay.opaque";

/// A path of an archive in its shortest form, relative to the folder; the folder itself is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(Vec<u8>);

impl Path {
    pub(super) fn parse(raw: &[u8]) -> Result<Self, ApplyError> {
        if raw.contains(&0) {
            return Err(refused(raw, "it contains a NUL"));
        }
        let names: Vec<&[u8]> =
            raw.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
        if names.contains(&b"..".as_slice()) {
            return Err(refused(raw, "it climbs with `..`"));
        }
        if names.len() > MAX_DEPTH || names.iter().any(|name| name.len() > MAX_NAME) {
            return Err(refused(raw, "it is too deep or a name in it is too long"));
        }
        let path = names.join(&b'/');
        if path.len() > MAX_PATH { Err(refused(raw, "it is too long")) } else { Ok(Self(path)) }
    }

    /// The folder it lies in, and its name there.
    fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (b"", &self.0),
        }
    }
}

/// The folder.
pub(super) struct Folder {
    root: OwnedFd,
    owner: Ownership,
    whiteouts: bool,
    /// The folder that the last entry was made in: entries come sorted, most have a neighbour.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// Modes and times that folders get at the end.
    folders: BTreeMap<Vec<u8>, (u32, i64)>,
    /// What they take.
    noted: usize,
    buffer: Vec<u8>,
}

impl Folder {
    pub(super) fn open(
        path: &std::path::Path,
        owner: Ownership,
        whiteouts: bool,
    ) -> Result<Self, ApplyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| ApplyError::Open { path: path.to_owned(), source: e.into() })?;
        let buffer = vec![0; 128 << 10];
        Ok(Self { root, owner, whiteouts, last: None, folders: BTreeMap::new(), noted: 0, buffer })
    }

    /// Makes the deletion that a `.wh.` entry stands for; false where it is none.
    pub(super) fn takes_as_whiteout(&mut self, path: &Path, member: &Member) -> Result<bool, ApplyError> {
        if !self.whiteouts {
            return Ok(false);
        }
        let (dir, name) = path.split();
        if dir.split(|byte| *byte == b'/').any(|name| name.starts_with(WHITEOUT)) {
            return Err(refused(&path.0, "a folder in it is named like a deletion"));
        }
        let Some(deleted) = name.strip_prefix(WHITEOUT) else { return Ok(false) };
        if !matches!(member.kind, super::MemberKind::File) {
            return Err(refused(&path.0, "a deletion that is not a plain file"));
        }
        if name == OPAQUE {
            let dir = dir.to_vec();
            let opened = self.open_dir(&dir)?;
            set_opaque(&opened).map_err(|e| failed("mark", &path.0, e))?;
            return Ok(true);
        }
        // Others of this form are notes that aufs kept for itself.
        if deleted.starts_with(WHITEOUT) {
            return Ok(true);
        }
        if matches!(deleted, b"" | b"." | b"..") {
            return Err(refused(&path.0, "it deletes no name"));
        }
        self.delete(path, deleted)?;
        Ok(true)
    }

    /// Deletes a name of the layers below: it hides them, never what this layer has itself.
    fn delete(&mut self, path: &Path, name: &[u8]) -> Result<(), ApplyError> {
        let (dir, _) = path.split();
        let parent = self.parent(dir)?;
        match stat(parent, name) {
            Ok(stat) if kind_of(&stat) == FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(parent, name, flags, Mode::empty()).and_then(|dir| set_opaque(&dir))
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
            }
            Err(e) => Err(e),
        }
        .map_err(|e| failed("delete", &path.0, e))
    }

    pub(super) fn make_dir(&mut self, path: &Path, member: &Member) -> Result<(), ApplyError> {
        if !path.0.is_empty() {
            let owner = self.owner_of(member);
            let (dir, name) = path.split();
            let parent = self.parent(dir)?;
            let replaced = make_dir_at(parent, name, owner).map_err(|e| failed("create", &path.0, e))?;
            if replaced {
                self.last = None;
            }
        }
        if self.folders.insert(path.0.clone(), (member.mode, member.mtime)).is_none() {
            self.noted += path.0.len() + NOTE;
        }
        if self.noted > MAX_NOTED {
            return Err(refused(&path.0, "the archive has too many folders, or too long paths to them"));
        }
        Ok(())
    }

    /// Makes a file of what `content` reads, until it reads nothing.
    pub(super) fn make_file(
        &mut self,
        path: &Path,
        member: &Member,
        mut content: impl FnMut(&mut [u8]) -> Result<usize, ApplyError>,
    ) -> Result<(), ApplyError> {
        let owner = self.owner_of(member);
        let failed = |operation, e| failed(operation, &path.0, e);
        let (parent, name) = self.free_place(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| failed("create", e))?;
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let count = content(&mut buffer)?;
            if count == 0 {
                break;
            }
            write_all(&file, &buffer[..count]).map_err(|e| failed("write", e))?;
        }
        self.buffer = buffer;
        if let Some((uid, gid)) = owner {
            rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(|e| failed("chown", e))?;
        }
        // After the change of owner, which takes set-user-id away.
        rustix::fs::fchmod(&file, mode(member.mode)).map_err(|e| failed("chmod", e))?;
        rustix::fs::futimens(&file, &times(member.mtime)).map_err(|e| failed("date", e))
    }

    pub(super) fn make_symlink(&mut self, path: &Path, member: &Member) -> Result<(), ApplyError> {
        if member.link.is_empty() || member.link.len() > MAX_PATH || member.link.contains(&0) {
            return Err(refused(&path.0, "it is a link to nowhere"));
        }
        let owner = self.owner_of(member);
        let failed = |operation, e| failed(operation, &path.0, e);
        let (parent, name) = self.free_place(path)?;
        rustix::fs::symlinkat(member.link.as_slice(), parent, name).map_err(|e| failed("create", e))?;
        chown(parent, name, owner).map_err(|e| failed("chown", e))?;
        rustix::fs::utimensat(parent, name, &times(member.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed("date", e))
    }

    pub(super) fn make_hard_link(&mut self, path: &Path, existing: &Path) -> Result<(), ApplyError> {
        if path == existing || existing.0.is_empty() {
            return Err(refused(&path.0, "it is a hard link to itself or to the root"));
        }
        let (dir, name) = existing.split();
        let from = self.parent(dir)?.try_clone_to_owned();
        let from = from.map_err(|source| write_error("link", &path.0, source))?;
        match stat(from.as_fd(), name) {
            Ok(stat) if kind_of(&stat) == FileType::Directory => {
                return Err(refused(&path.0, "it is a hard link to a folder"));
            }
            Ok(_) => {}
            Err(_) => return Err(refused(&path.0, "it is a hard link to what the layer does not have")),
        }
        let (to, new) = self.free_place(path)?;
        rustix::fs::linkat(&from, name, to, new, AtFlags::empty()).map_err(|e| failed("link", &path.0, e))
    }

    pub(super) fn make_fifo(&mut self, path: &Path, member: &Member) -> Result<(), ApplyError> {
        let owner = self.owner_of(member);
        let failed = |operation, e| failed(operation, &path.0, e);
        let (parent, name) = self.free_place(path)?;
        rustix::fs::mknodat(parent, name, FileType::Fifo, mode(member.mode), 0)
            .map_err(|e| failed("create", e))?;
        chown(parent, name, owner).map_err(|e| failed("chown", e))
    }

    /// Gives folders their modes and times, the deepest first.
    pub(super) fn finish(mut self) -> Result<(), ApplyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for (path, (bits, mtime)) in std::mem::take(&mut self.folders).into_iter().rev() {
            let folder = match self.resolve(&path, flags) {
                Ok(folder) => folder,
                // A later entry has taken its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(e) => return Err(failed("open", &path, e)),
            };
            rustix::fs::fchmod(&folder, mode(bits)).map_err(|e| failed("chmod", &path, e))?;
            rustix::fs::futimens(&folder, &times(mtime)).map_err(|e| failed("date", &path, e))?;
        }
        Ok(())
    }

    fn owner_of(&self, member: &Member) -> Option<(Uid, Gid)> {
        match self.owner {
            Ownership::Archive => Some((Uid::from_raw(member.uid), Gid::from_raw(member.gid))),
            Ownership::Fixed { uid, gid } => Some((Uid::from_raw(uid), Gid::from_raw(gid))),
            Ownership::Current => None,
        }
    }

    /// Opens a path below the folder as if the folder were the root of all.
    fn resolve(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // A rename somewhere on the machine met a `..` of a link: the kernel asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// The folder at `dir`, made where missing, for making entries in it.
    fn parent(&mut self, dir: &[u8]) -> Result<BorrowedFd<'_>, ApplyError> {
        if self.last.as_ref().is_none_or(|(path, _)| path != dir) {
            let opened = self.open_dir(dir)?;
            self.last = Some((dir.to_vec(), opened));
        }
        Ok(self.last.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    fn open_dir(&mut self, dir: &[u8]) -> Result<OwnedFd, ApplyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.resolve(dir, flags) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_way(dir)?,
            Err(e) => return Err(failed("open", dir, e)),
            Ok(opened) => return Ok(opened),
        }
        self.resolve(dir, flags).map_err(|e| failed("open", dir, e))
    }

    /// Makes the folders of a path that are missing, as an archive need not name them.
    fn make_way(&mut self, dir: &[u8]) -> Result<(), ApplyError> {
        let owner = match self.owner {
            Ownership::Archive => Some((Uid::ROOT, Gid::ROOT)),
            Ownership::Fixed { uid, gid } => Some((Uid::from_raw(uid), Gid::from_raw(gid))),
            Ownership::Current => None,
        };
        let ends = dir.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain([dir.len()]).collect();
        let mut above = 0;
        for end in ends {
            let (path, flags) = (&dir[..end], OFlags::PATH | OFlags::DIRECTORY);
            let parent = self.resolve(&dir[..above], flags).map_err(|e| failed("open", path, e))?;
            let name = dir[above..end].strip_prefix(b"/").unwrap_or(&dir[above..end]);
            match self.resolve(path, flags) {
                Ok(_) => {}
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let kept = stat(parent.as_fd(), name).is_ok_and(|s| !is_whiteout(&s));
                    if kept {
                        return Err(refused(path, "entries lie below it, but it is no folder"));
                    }
                    make_dir_at(parent.as_fd(), name, owner).map_err(|e| failed("create", path, e))?;
                    rustix::fs::openat(&parent, name, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())
                        .and_then(|fd| rustix::fs::fchmod(fd, mode(0o755)))
                        .map_err(|e| failed("chmod", path, e))?;
                }
                Err(e) => return Err(failed("open", path, e)),
            }
            above = end;
        }
        Ok(())
    }

    /// Frees the place of an entry that is not a folder: the folder it lies in, and its name.
    fn free_place<'a>(&mut self, path: &'a Path) -> Result<(BorrowedFd<'_>, &'a [u8]), ApplyError> {
        if path.0.is_empty() {
            return Err(refused(&path.0, "only a folder can be the root"));
        }
        let (dir, name) = path.split();
        let parent = self.parent(dir)?;
        let removed = remove(parent, name, 0).map_err(|e| failed("replace", &path.0, e))?;
        if removed {
            self.last = None;
        }
        Ok((self.parent(dir)?, name))
    }
}

/// Makes a folder that others may enter later; true where something else was in its place. One in the place of a
/// deletion hides what the layers below have there.
fn make_dir_at(parent: BorrowedFd<'_>, name: &[u8], owner: Option<(Uid, Gid)>) -> rustix::io::Result<bool> {
    let private = Mode::RWXU;
    let replaced = match rustix::fs::mkdirat(parent, name, private) {
        Ok(()) => false,
        Err(Errno::EXIST) => {
            let old = stat(parent, name)?;
            if kind_of(&old) != FileType::Directory {
                rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
                rustix::fs::mkdirat(parent, name, private)?;
                if is_whiteout(&old) {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    set_opaque(&rustix::fs::openat(parent, name, flags, Mode::empty())?)?;
                }
            }
            kind_of(&old) != FileType::Directory
        }
        Err(e) => return Err(e),
    };
    chown(parent, name, owner)?;
    Ok(replaced)
}

/// Removes a name with all below it; false where there was none.
fn remove(parent: BorrowedFd<'_>, name: &[u8], depth: usize) -> rustix::io::Result<bool> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(true),
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::ISDIR | Errno::PERM) if depth <= MAX_DEPTH => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = Dir::new(rustix::fs::openat(parent, name, flags, Mode::empty())?)?;
    loop {
        let names = some_names(&mut folder)?;
        if names.is_empty() {
            break;
        }
        for child in names {
            remove(folder.fd()?, &child, depth + 1)?;
        }
        folder.rewind();
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}

/// The next names of a folder, not all at once: there may be millions.
fn some_names(folder: &mut Dir) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    while names.len() < BATCH
        && let Some(entry) = folder.read()
    {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    Ok(names)
}

fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn is_whiteout(stat: &Stat) -> bool {
    kind_of(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn set_opaque(folder: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(folder, OPAQUE_ATTRIBUTE, b"y", rustix::fs::XattrFlags::empty())
}

fn chown(dir: BorrowedFd<'_>, name: &[u8], owner: Option<(Uid, Gid)>) -> rustix::io::Result<()> {
    match owner {
        Some((uid, gid)) => rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW),
        None => Ok(()),
    }
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits & 0o7777)
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn failed(operation: &'static str, path: &[u8], error: Errno) -> ApplyError {
    match error {
        Errno::NOSPC | Errno::DQUOT => ApplyError::Full { path: printable(path) },
        _ => write_error(operation, path, error.into()),
    }
}

fn write_error(operation: &'static str, path: &[u8], source: std::io::Error) -> ApplyError {
    ApplyError::Write { operation, path: printable(path), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::MemberKind;

    #[test]
    fn folders_of_an_archive_do_not_fill_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(dir.path(), Ownership::Current, false).unwrap();
        let mut make = |name: &str, noted: usize| {
            folder.noted += noted;
            let (path, link) = (name.as_bytes().to_vec(), Vec::new());
            let (kind, mode, uid, gid, mtime) = (MemberKind::Dir, 0o755, 0, 0, 0);
            let member = Member { path, link, kind, mode, uid, gid, mtime };
            folder.make_dir(&Path(name.into()), &member)
        };
        make("one", 0).unwrap();
        // One folder again and again takes no more than once.
        make("one", MAX_NOTED - NOTE - "one".len()).unwrap();
        let refused = make("two", 0).unwrap_err();
        assert!(refused.to_string().contains("too many folders"), "{refused}");
    }
}
