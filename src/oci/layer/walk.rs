//! Walks a spec and shows its entries in their final order to a [`Sink`].
//!
//! The walk reads names and `stat` alone; it never follows a symbolic link below a source, as what lies there was
//! written by untrusted code. Within a folder the order is that of the names' bytes, a folder before what is in it.

use super::{LayerError, retry};
use crate::spec::{Filter, LayerSpec, Owner, Part};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Most folders inside each other.
pub(crate) const MAX_DEPTH: usize = 256;
/// Most bytes of a path in the image.
pub(crate) const MAX_PATH: usize = 4095;

/// Most entries of one folder.
pub(crate) const MAX_ENTRIES: usize = 1_000_000;
/// Most bytes of names that are in memory at a time: those of the folders on the way.
pub(crate) const MAX_NAMES: usize = 64 << 20;
/// What a name takes in memory besides itself.
const NAME: usize = 32;

/// Takes the entries of a layer in their order.
pub(crate) trait Sink {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), LayerError>;
}

/// An entry as it will be in the image.
pub(crate) struct Entry<'a> {
    /// Absolute, without a trailing slash.
    pub(crate) path: &'a [u8],
    pub(crate) kind: Kind<'a>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What an entry is.
pub(crate) enum Kind<'a> {
    Dir,
    Symlink(&'a [u8]),
    Fifo,
    Bytes(&'a [u8]),
    Host(HostFile<'a>),
}

/// A regular file of the machine.
pub(crate) struct HostFile<'a> {
    dir: BorrowedFd<'a>,
    name: &'a CStr,
    pub(crate) stat: &'a Stat,
    place: &'a Place<'a>,
    below: &'a [u8],
}

impl HostFile<'_> {
    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// Opens it for reading, and makes sure that it is still the file that was seen.
    pub(crate) fn open(&self) -> Result<OwnedFd, LayerError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = retry(|| rustix::fs::openat(self.dir, self.name, flags, Mode::empty()))
            .map_err(|e| self.failed(e))?;
        let now = rustix::fs::fstat(&file).map_err(|e| self.failed(e))?;
        let key = |s: &Stat| {
            (s.st_mode, s.st_ino, s.st_size, s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec)
        };
        if key(&now) == key(self.stat) { Ok(file) } else { Err(LayerError::Changed { path: self.shown() }) }
    }

    /// Its path for a message.
    pub(crate) fn shown(&self) -> PathBuf {
        self.place.shown(self.below)
    }

    pub(crate) fn failed(&self, error: Errno) -> LayerError {
        LayerError::Read { path: self.shown(), source: error.into() }
    }
}

/// Where a part's source is, for messages.
struct Place<'a> {
    source: &'a Path,
}

impl Place<'_> {
    fn shown(&self, below: &[u8]) -> PathBuf {
        let below = below.strip_prefix(b"/").unwrap_or(below);
        if below.is_empty() { self.source.to_owned() } else { self.source.join(OsStr::from_bytes(below)) }
    }
}

/// Shows all entries of `spec` to `sink`.
pub(crate) fn walk(spec: &LayerSpec, sink: &mut dyn Sink) -> Result<(), LayerError> {
    let base = spec.base.as_deref().map(open_base).transpose()?;
    let mut walker = Walker { base, sink, folders: HashSet::new(), held: 0 };
    spec.parts.iter().try_for_each(|part| walker.part(part))
}

fn open_base(path: &Path) -> Result<OwnedFd, LayerError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| read(path, e))
}

fn read(path: &Path, error: Errno) -> LayerError {
    LayerError::Read { path: path.to_owned(), source: error.into() }
}

/// Refuses a target that is not plainly absolute.
fn target(text: &str) -> Result<&[u8], LayerError> {
    let refuse = |why| Err(LayerError::Path { path: text.to_owned(), why });
    let Some(below) = text.strip_prefix('/') else { return refuse("it is not absolute") };
    if text.len() > MAX_PATH {
        return refuse("it is too long");
    }
    if text.contains('\0') {
        return refuse("it contains a NUL");
    }
    if !below.is_empty() && below.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return refuse("it is not in its shortest form");
    }
    Ok(if below.is_empty() { b"" } else { text.as_bytes() })
}

struct Walker<'a> {
    base: Option<OwnedFd>,
    sink: &'a mut dyn Sink,
    /// Folders written by parts of their own, which are not repeated.
    folders: HashSet<Vec<u8>>,
    /// Bytes of the names that are in memory.
    held: usize,
}

/// What goes for all of one tree.
struct Tree<'a> {
    place: Place<'a>,
    /// Bytes of the target, after which paths are below the source.
    target: usize,
    owner: Owner,
    filter: &'a Filter,
    whiteouts: bool,
}

/// The way from a tree's source to where the walk is.
#[derive(Default)]
struct Way {
    path: Vec<u8>,
    depth: usize,
    /// Folders on the way that are written only once something in them is: the length of their path, and their `stat`.
    unwritten: Vec<(usize, Stat)>,
}

impl Walker<'_> {
    fn part(&mut self, part: &Part) -> Result<(), LayerError> {
        match part {
            Part::Tree { source, target: to, owner, filter, whiteouts } => {
                let path = target(to)?.to_vec();
                let (dir, name) = self.open_parent(source)?;
                let place = Place { source };
                let tree = Tree { place, target: path.len(), owner: *owner, filter, whiteouts: *whiteouts };
                let mut way = Way { path, depth: 0, unwritten: Vec::new() };
                self.node(&tree, &mut way, dir.as_fd(), &name, filter.include.is_empty())
            }
            Part::Parents { source, target: to } => self.parents(source, target(to)?),
            Part::File { target: to, content, mode, uid, gid } => {
                self.plain(target(to)?, Kind::Bytes(content), *mode, (*uid, *gid))
            }
            Part::HostFile { source, target: to, mode, uid, gid } => {
                let to = target(to)?;
                let (dir, name) = self.open_parent(source)?;
                let stat = stat(dir.as_fd(), &name).map_err(|e| read(source, e))?;
                if kind_of(&stat) != FileType::RegularFile {
                    return Err(read(source, Errno::INVAL));
                }
                let place = Place { source };
                let file = HostFile { dir: dir.as_fd(), name: &name, stat: &stat, place: &place, below: b"" };
                self.plain(to, Kind::Host(file), *mode, (*uid, *gid))
            }
            Part::Dir { target: to, mode, uid, gid } => self.folder(target(to)?, *mode, (*uid, *gid)),
            Part::Symlink { target: to, link, uid, gid } => {
                self.plain(target(to)?, Kind::Symlink(link.as_bytes()), 0o777, (*uid, *gid))
            }
        }
    }

    fn plain(
        &mut self,
        path: &[u8],
        kind: Kind<'_>,
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> Result<(), LayerError> {
        if path.is_empty() {
            return Err(LayerError::Path { path: "/".to_owned(), why: "it is the root" });
        }
        self.sink.entry(&Entry { path, kind, mode: mode & 0o7777, uid, gid })
    }

    fn folder(&mut self, path: &[u8], mode: u32, owner: (u32, u32)) -> Result<(), LayerError> {
        if path.is_empty() || !self.folders.insert(path.to_vec()) {
            return Ok(());
        }
        self.plain(path, Kind::Dir, mode, owner)
    }

    /// Writes the folders above a target, each like the folder as far above the source.
    fn parents(&mut self, source: &Path, target: &[u8]) -> Result<(), LayerError> {
        let ends = target.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = ends.collect();
        for (index, end) in ends.iter().enumerate() {
            let above = source.ancestors().nth(ends.len() - index);
            let above = above.ok_or_else(|| read(source, Errno::NOENT))?;
            let (dir, name) = self.open_parent(above)?;
            let stat = stat(dir.as_fd(), &name).map_err(|e| read(above, e))?;
            if kind_of(&stat) != FileType::Directory {
                return Err(read(above, Errno::NOTDIR));
            }
            self.folder(&target[..*end], stat.st_mode, (stat.st_uid, stat.st_gid))?;
        }
        Ok(())
    }

    /// Opens the folder that a source lies in, and says its name there.
    fn open_parent(&self, source: &Path) -> Result<(OwnedFd, CString), LayerError> {
        let (dir, name) = match (source.parent(), source.file_name()) {
            (Some(dir), Some(name)) => (dir, name),
            _ => (source, OsStr::new(".")),
        };
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match &self.base {
            None => rustix::fs::open(dir, flags, Mode::empty()),
            Some(base) => {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                rustix::fs::openat2(base, dir, flags, Mode::empty(), resolve)
            }
        };
        let name = CString::new(name.as_bytes()).map_err(|_| read(source, Errno::INVAL))?;
        Ok((opened.map_err(|e| read(source, e))?, name))
    }

    /// One entry of a tree, and everything below it. `taken`: whether the filter takes it whatever it is called.
    fn node(
        &mut self,
        tree: &Tree<'_>,
        way: &mut Way,
        dir: BorrowedFd<'_>,
        name: &CStr,
        taken: bool,
    ) -> Result<(), LayerError> {
        let below = way.path[tree.target..].strip_prefix(b"/").unwrap_or(b"");
        if !below.is_empty() && tree.filter.excludes(below) {
            return Ok(());
        }
        let taken = taken || (!below.is_empty() && tree.filter.includes(below));
        let failed = |way: &Way, e| read(&tree.place.shown(&way.path[tree.target..]), e);
        let stat = stat(dir, name).map_err(|e| failed(way, e))?;
        if kind_of(&stat) == FileType::Directory {
            return self.tree_folder(tree, way, dir, name, &stat, taken);
        }
        if !taken || kind_of(&stat) == FileType::Socket {
            return Ok(());
        }
        self.write_unwritten(tree, way)?;
        match kind_of(&stat) {
            FileType::RegularFile => {
                let below = &way.path[tree.target..];
                let file = HostFile { dir, name, stat: &stat, place: &tree.place, below };
                self.emit(tree, &way.path, Kind::Host(file), &stat)
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(|e| failed(way, e))?;
                self.emit(tree, &way.path, Kind::Symlink(link.as_bytes()), &stat)
            }
            FileType::Fifo => self.emit(tree, &way.path, Kind::Fifo, &stat),
            FileType::CharacterDevice if tree.whiteouts && stat.st_rdev == 0 => {
                let path = whiteout(&way.path);
                self.emit(tree, &path, Kind::Bytes(b""), &stat)
            }
            _ => Err(LayerError::Device { path: tree.place.shown(&way.path[tree.target..]) }),
        }
    }

    fn tree_folder(
        &mut self,
        tree: &Tree<'_>,
        way: &mut Way,
        dir: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        taken: bool,
    ) -> Result<(), LayerError> {
        let shown = |way: &Way| tree.place.shown(&way.path[tree.target..]);
        if way.depth >= MAX_DEPTH {
            return Err(LayerError::TooDeep { path: shown(way) });
        }
        way.unwritten.push((way.path.len(), *stat));
        if taken {
            self.write_unwritten(tree, way)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = retry(|| rustix::fs::openat(dir, name, flags, Mode::empty()));
        let opened = opened.map_err(|e| read(&shown(way), e))?;
        if taken && tree.whiteouts && is_opaque(&opened) {
            let path = [way.path.as_slice(), b"/.wh..wh..opq"].concat();
            self.emit(tree, &path, Kind::Bytes(b""), stat)?;
        }
        let mut folder = Dir::new(opened).map_err(|e| read(&shown(way), e))?;
        let names = sorted_names(&mut folder, MAX_ENTRIES, MAX_NAMES - self.held);
        let names = names.map_err(|e| read(&shown(way), e))?;
        let Some((names, bytes)) = names else { return Err(LayerError::Crowded { path: shown(way) }) };
        self.held += bytes;
        let fd = folder.fd().map_err(|e| read(&shown(way), e))?;
        let (length, unwritten) = (way.path.len(), way.unwritten.len());
        way.depth += 1;
        for name in names {
            way.path.push(b'/');
            way.path.extend_from_slice(name.to_bytes());
            if way.path.len() > MAX_PATH {
                let path = String::from_utf8_lossy(&way.path).into_owned();
                return Err(LayerError::Path { path, why: "it is too long" });
            }
            self.node(tree, way, fd, &name, taken)?;
            way.path.truncate(length);
        }
        way.depth -= 1;
        self.held -= bytes;
        // Still unwritten here means that nothing in it was taken.
        way.unwritten.truncate(unwritten.saturating_sub(usize::from(!taken)));
        Ok(())
    }

    /// Writes the folders above an entry that is taken.
    fn write_unwritten(&mut self, tree: &Tree<'_>, way: &mut Way) -> Result<(), LayerError> {
        for (length, stat) in std::mem::take(&mut way.unwritten) {
            self.emit(tree, &way.path[..length], Kind::Dir, &stat)?;
        }
        Ok(())
    }

    fn emit(&mut self, tree: &Tree<'_>, path: &[u8], kind: Kind<'_>, stat: &Stat) -> Result<(), LayerError> {
        let (uid, gid) = match tree.owner {
            Owner::Fixed { uid, gid } => (uid, gid),
            Owner::Keep => (stat.st_uid, stat.st_gid),
        };
        // A tree whose target is the root has no entry for the root itself.
        if path.is_empty() {
            return Ok(());
        }
        self.sink.entry(&Entry { path, kind, mode: stat.st_mode & 0o7777, uid, gid })
    }
}

fn stat(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Stat> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The names in a folder and what they take; `None` where they are more, or take more, than allowed.
fn sorted_names(
    folder: &mut Dir,
    most: usize,
    most_bytes: usize,
) -> rustix::io::Result<Option<(Vec<CString>, usize)>> {
    let (mut names, mut bytes) = (Vec::new(), 0);
    while let Some(entry) = folder.read() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            bytes += name.count_bytes() + NAME;
            names.push(name.to_owned());
        }
        if names.len() > most || bytes > most_bytes {
            return Ok(None);
        }
    }
    names.sort_unstable();
    Ok(Some((names, bytes)))
}

fn is_opaque(folder: &OwnedFd) -> bool {
    let mut value = [0; 8];
    let read = rustix::fs::fgetxattr(folder, "user.overlay.opaque", &mut value[..]);
    read.is_ok_and(|length| value[..length] == *b"y")
}

/// The path of the entry that deletes `path`.
fn whiteout(path: &[u8]) -> Vec<u8> {
    let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    [&path[..name], b".wh.", &path[name..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowded_folder_is_not_held_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let names = |most, bytes| {
            let mut folder = Dir::new(std::fs::File::open(dir.path()).unwrap()).unwrap();
            sorted_names(&mut folder, most, bytes).unwrap()
        };
        let (sorted, bytes) = names(3, 1000).unwrap();
        assert_eq!(sorted, [c"a", c"b", c"c"].map(CStr::to_owned));
        assert!(names(3, bytes).is_some() && names(3, bytes - 1).is_none() && names(2, 1000).is_none());
    }
}
