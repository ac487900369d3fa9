//! A root file system as a list in memory: what is where, and in which archive its bytes lie.
//!
//! Enter at [`Tree::read`]. Archives stay on disk; a tree holds names, modes and positions only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

/// An uncompressed archive that entries point into.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) file: Arc<File>,
    pub(crate) start: u64,
    pub(crate) bytes: u64,
}

/// The bytes of a file.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    archive: Arc<File>,
    start: u64,
    pub(crate) bytes: u64,
    hash: blake3::Hash,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Folder,
    File(Content),
    Symlink(String),
}

/// One entry. Times are not kept: all of them become one.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Entries by path, without a leading or trailing slash; a folder sorts before what is in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, Entry>);

impl Archive {
    /// The whole of an open file.
    pub(crate) fn whole(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), start: 0, bytes })
    }

    fn reader(&self) -> io::Result<impl Read> {
        section(&self.file, self.start, self.bytes)
    }
}

/// A reader of one section of a file with a position of its own.
fn section(file: &Arc<File>, start: u64, bytes: u64) -> io::Result<impl Read + use<>> {
    // A descriptor of /proc has a file position of its own; a duplicate would share one among all readers.
    use std::os::fd::AsRawFd;
    let mut file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    file.seek(SeekFrom::Start(start))?;
    Ok(file.take(bytes))
}

impl Content {
    /// Which bytes of which archive they are; hard links share it.
    pub(crate) fn identity(&self) -> (usize, u64) {
        (Arc::as_ptr(&self.archive) as usize, self.start)
    }

    /// Bytes that lie in no archive yet.
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Self> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        let (bytes, hash) = (bytes.len() as u64, blake3::hash(bytes));
        Ok(Self { archive: Arc::new(file), start: 0, bytes, hash })
    }

    /// Reads the bytes.
    pub(crate) fn reader(&self) -> io::Result<impl Read + use<>> {
        section(&self.archive, self.start, self.bytes)
    }

    /// The archive that lies in this file.
    pub(crate) fn as_archive(&self) -> Archive {
        Archive { file: Arc::clone(&self.archive), start: self.start, bytes: self.bytes }
    }
}

impl Entry {
    /// An empty folder.
    pub(crate) fn folder(mode: u32, uid: u32, gid: u32) -> Self {
        Self { kind: Kind::Folder, mode, uid, gid }
    }

    /// A symlink of root's.
    pub(crate) fn symlink(to: &str) -> Self {
        Self { kind: Kind::Symlink(to.to_owned()), mode: 0o777, uid: 0, gid: 0 }
    }

    /// Whether a layer with this entry need not repeat the other.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let kind = match (&self.kind, &other.kind) {
            (Kind::Folder, Kind::Folder) => true,
            (Kind::File(a), Kind::File(b)) => a.bytes == b.bytes && a.hash == b.hash,
            (Kind::Symlink(a), Kind::Symlink(b)) => a == b,
            _ => false,
        };
        kind && (self.mode, self.uid, self.gid) == (other.mode, other.uid, other.gid)
    }
}

impl Tree {
    /// Reads an archive's entries, with `strip` leading folder names taken off; devices, sockets and pipes are left out.
    ///
    /// Set-user and set-group bits are taken off: nobody in our images may become somebody else.
    pub(crate) fn read(archive: &Archive, strip: usize) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut tar = tar::Archive::new(archive.reader()?);
        for entry in tar.entries()? {
            let mut entry = entry?;
            let Some(path) = normal(&entry.path_bytes(), strip)? else { continue };
            let header = entry.header();
            let mode = header.mode()? & 0o1777;
            let (uid, gid) = owner(header)?;
            let kind = match header.entry_type() {
                tar::EntryType::Directory => Kind::Folder,
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let (start, bytes) = (archive.start + entry.raw_file_position(), entry.size());
                    let hash = blake3::Hasher::new().update_reader(&mut entry)?.finalize();
                    Kind::File(Content { archive: Arc::clone(&archive.file), start, bytes, hash })
                }
                tar::EntryType::Symlink => Kind::Symlink(link(&entry)?),
                tar::EntryType::Link => match tree.linked(&link(&entry)?, strip)? {
                    Some(kind) => kind,
                    None => continue,
                },
                _ => continue,
            };
            tree.0.insert(path, Entry { kind, mode, uid, gid });
        }
        Ok(tree)
    }

    /// What a hard link points at: an entry that came before it.
    fn linked(&self, target: &str, strip: usize) -> io::Result<Option<Kind>> {
        let Some(path) = normal(target.as_bytes(), strip)? else { return Ok(None) };
        match self.0.get(&path) {
            Some(entry) => Ok(Some(entry.kind.clone())),
            None => Err(invalid(format!("a hard link points at {path}, which does not come before it"))),
        }
    }

    /// Leaves out what `trim` names, but for what `keep` names and the folders above that.
    pub(crate) fn trim(&mut self, trim: &[String], keep: &[String]) {
        let kept: Vec<String> =
            self.0.keys().filter(|path| keep.iter().any(|pattern| matches(pattern, path))).cloned().collect();
        let above = |path: &str| {
            kept.iter()
                .any(|k| k.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        self.0.retain(|path, _| !trim.iter().any(|pattern| matches(pattern, path)) || above(path));
    }

    /// Adds another tree below `target`, left out what `exclude` names, owned by root.
    pub(crate) fn graft(&mut self, other: Tree, target: &str, exclude: &[String]) {
        for (end, _) in target.match_indices('/').chain([(target.len(), "")]) {
            self.0.entry(target[..end].to_owned()).or_insert_with(|| Entry::folder(0o755, 0, 0));
        }
        for (path, entry) in other.0 {
            if !exclude.iter().any(|pattern| matches(pattern, &path)) {
                let entry = Entry { uid: 0, gid: 0, mode: entry.mode | 0o444, ..entry };
                self.0.insert(format!("{target}/{path}"), entry);
            }
        }
    }

    /// Reads a small file.
    pub(crate) fn text(&self, path: &str) -> io::Result<String> {
        let Some(Entry { kind: Kind::File(content), .. }) = self.0.get(path) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("the root has no file {path}")));
        };
        let mut text = String::new();
        content.reader()?.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Whether a pattern names this path: `a/b/` all below, `a/b` itself; `*` within one name.
fn matches(pattern: &str, path: &str) -> bool {
    let names: Vec<&str> = path.split('/').collect();
    let (patterns, below) = match pattern.strip_suffix('/') {
        Some(folder) => (folder, true),
        None => (pattern, false),
    };
    let patterns: Vec<&str> = patterns.split('/').collect();
    let long_enough = if below { names.len() > patterns.len() } else { names.len() == patterns.len() };
    long_enough && patterns.iter().zip(&names).all(|(pattern, name)| matches_name(pattern, name))
}

fn matches_name(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(head) else { return false };
    (0..=rest.len()).any(|i| rest.is_char_boundary(i) && matches_name(tail, &rest[i..]))
}

/// A path of an archive as ours; nothing for the root itself.
fn normal(path: &[u8], strip: usize) -> io::Result<Option<String>> {
    let text = std::str::from_utf8(path).map_err(|_| invalid("a name is not UTF-8".to_owned()))?;
    let names: Vec<&str> = text.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.contains(&"..") {
        return Err(invalid(format!("{text} leaves the root")));
    }
    Ok(names.get(strip..).filter(|rest| !rest.is_empty()).map(|rest| rest.join("/")))
}

fn link<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<String> {
    let bytes = entry.link_name_bytes().ok_or_else(|| invalid("a link without a target".to_owned()))?;
    String::from_utf8(bytes.into_owned()).map_err(|_| invalid("a link's target is not UTF-8".to_owned()))
}

/// User and group; archives of npm leave both fields empty.
fn owner(header: &tar::Header) -> io::Result<(u32, u32)> {
    let empty = |field: &[u8]| field.iter().all(|byte| matches!(byte, 0 | b' '));
    let old = header.as_old();
    let uid = if empty(&old.uid) { 0 } else { id(header.uid()?)? };
    let gid = if empty(&old.gid) { 0 } else { id(header.gid()?)? };
    Ok((uid, gid))
}

fn id(id: u64) -> io::Result<u32> {
    u32::try_from(id).map_err(|_| invalid(format!("{id} is not a user")))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_within_a_name() {
        assert!(matches("var/log/", "var/log/apt/history.log"));
        assert!(!matches("var/log/", "var/log"), "the folder itself stays");
        assert!(matches("usr/share/doc/*/copyright", "usr/share/doc/bash/copyright"));
        assert!(!matches("usr/share/doc/*/copyright", "usr/share/doc/a/b/copyright"));
        assert!(matches("var/lib/dpkg/*-old", "var/lib/dpkg/status-old"));
        assert!(!matches("etc/passwd", "etc/passwd-"));
    }

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        assert_eq!(normal(b"./usr//bin/", 0).unwrap().as_deref(), Some("usr/bin"));
        assert_eq!(normal(b"package/bin/node", 1).unwrap().as_deref(), Some("bin/node"));
        assert_eq!(normal(b"./", 0).unwrap(), None);
        assert!(normal(b"usr/../../etc", 0).is_err());
    }
}
