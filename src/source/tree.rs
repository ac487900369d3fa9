//! The survey of a tree: every entry in order, checked, contents not yet read.
//!
//! Enter at [`survey`]. Order is git's own, which is that of whole paths as bytes.

use crate::findings::{Findings, Kind, shown};
use crate::links::{Judge, Links, Tangled};
use crate::project::project_of;
use crate::{SourceLimits, names};
use git2::{ObjectType, Odb, Oid, Repository};
use hythe_model::render::size;
use hythe_model::{Fault, Project};
use std::collections::HashMap;

/// An entry of a surveyed tree; its path is UTF-8, relative and clean.
#[derive(Debug)]
pub(crate) struct Entry {
    /// From the root, parts joined by `/`.
    pub(crate) path: String,
    /// What it is.
    pub(crate) body: Body,
}

/// What an entry is.
#[derive(Debug)]
pub(crate) enum Body {
    /// A folder; what is in it follows.
    Folder,
    /// A regular file.
    File { blob: Oid, bytes: u64, executable: bool },
    /// A symbolic link that stays in the tree.
    Link { target: String },
}

/// A tree that may be built from.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) entries: Vec<Entry>,
    /// Regular files and links.
    pub(crate) files: u64,
    /// Bytes of their contents.
    pub(crate) bytes: u64,
    /// What it says of how it is run.
    pub(crate) project: Project,
}

/// Why a tree could not be surveyed.
#[derive(Debug)]
pub(crate) enum SurveyError {
    /// The pusher's doing.
    Refused(Fault),
    /// Objects could not be read; some may be missing.
    Unreadable(git2::Error),
}

impl From<git2::Error> for SurveyError {
    fn from(error: git2::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// The longest target of a symbolic link, in bytes (Linux `PATH_MAX`, with its end).
const TARGET_BYTES: usize = 4095;
/// LFS pointers are smaller than this (git-lfs specification).
const POINTER_BYTES: usize = 1024;
/// How they begin.
const POINTER_HEADS: [&[u8]; 2] =
    [b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/"];

/// Walks the tree of a commit and judges every entry.
pub(crate) fn survey(
    repository: &Repository,
    commit: Oid,
    limits: &SourceLimits,
) -> Result<Survey, SurveyError> {
    let tree = repository.find_commit(commit)?.tree_id();
    let mut walk = Walk {
        odb: repository.odb()?,
        repository,
        limits,
        findings: Findings::default(),
        survey: Survey::default(),
        links: Links::new(),
    };
    walk.folder(tree, "", 0)?;
    walk.judge_links();
    walk.findings.verdict().map_err(SurveyError::Refused)?;
    walk.survey.project = project_of(&walk.odb, &walk.survey.entries)?;
    Ok(walk.survey)
}

struct Walk<'r> {
    repository: &'r Repository,
    odb: Odb<'r>,
    limits: &'r SourceLimits,
    findings: Findings,
    survey: Survey,
    links: Links,
}

impl Walk<'_> {
    fn folder(&mut self, tree: Oid, path: &str, depth: usize) -> Result<(), git2::Error> {
        if depth > self.limits.depth {
            self.findings.add(
                Kind::TooDeep,
                format!("{} (limit {} folders)", shown(path.as_bytes()), self.limits.depth),
            );
            return Ok(());
        }
        let tree = self.repository.find_tree(tree)?;
        let mut siblings = Siblings::default();
        for entry in &tree {
            if self.full() {
                break;
            }
            if let Some(child) = self.name(path, entry.name_bytes(), &mut siblings) {
                self.entry(child, entry.id(), entry.filemode_raw(), depth)?;
            }
        }
        Ok(())
    }

    /// Whether nothing more needs to be looked at, so that a tree that unfolds without end is not followed.
    fn full(&mut self) -> bool {
        if self.survey.entries.len() as u64 >= self.limits.files {
            self.findings
                .add(Kind::TooManyFiles, format!("more than {} files and folders", self.limits.files));
            return true;
        }
        self.findings.full()
    }

    /// The path of an entry, where its name is one that may be.
    fn name(&mut self, folder: &str, name: &[u8], siblings: &mut Siblings) -> Option<String> {
        let joined = [folder.as_bytes(), if folder.is_empty() { b"" } else { b"/" }, name].concat();
        if let Some(kind) = names::judge(name) {
            self.findings.add(kind, shown(&joined));
            return None;
        }
        if joined.len() > self.limits.path_bytes || name.len() > names::NAME_BYTES {
            let limit = format!(
                "({} bytes; limit {}, {} a name)",
                joined.len(),
                self.limits.path_bytes,
                names::NAME_BYTES
            );
            self.findings.add(Kind::PathTooLong, format!("{} {limit}", shown(&joined)));
            return None;
        }
        let name = std::str::from_utf8(name).ok()?;
        if let Some((kind, other)) = siblings.clash(name) {
            self.findings.add(kind, format!("{} and {}", shown(&joined), shown(other.as_bytes())));
            return None;
        }
        String::from_utf8(joined).ok()
    }

    fn entry(&mut self, path: String, id: Oid, mode: i32, depth: usize) -> Result<(), git2::Error> {
        // File type of git's modes: the upper bits of a Unix mode.
        match mode & 0o170_000 {
            0o040_000 => {
                self.survey.entries.push(Entry { path: path.clone(), body: Body::Folder });
                self.folder(id, &path, depth + 1)?;
            }
            0o100_000 => self.file(path, id, mode & 0o100 != 0)?,
            0o120_000 => self.link(path, id)?,
            0o160_000 => self.findings.add(Kind::Submodule, path),
            _ => self.findings.add(Kind::UnknownMode, format!("{path} (mode {mode:o})")),
        }
        Ok(())
    }

    fn file(&mut self, path: String, blob: Oid, executable: bool) -> Result<(), git2::Error> {
        let bytes = self.blob_size(blob)?;
        if bytes > self.limits.file_bytes {
            let line = format!("{path} ({}, limit {})", size(bytes), size(self.limits.file_bytes));
            self.findings.add(Kind::FileTooBig, line);
            return Ok(());
        }
        if bytes < POINTER_BYTES as u64 && self.is_pointer(blob)? {
            self.findings.add(Kind::LfsPointer, path);
            return Ok(());
        }
        self.count(bytes);
        self.survey.entries.push(Entry { path, body: Body::File { blob, bytes, executable } });
        Ok(())
    }

    fn link(&mut self, path: String, blob: Oid) -> Result<(), git2::Error> {
        if self.blob_size(blob)? > TARGET_BYTES as u64 {
            self.findings.add(Kind::LinkTooLong, path);
            return Ok(());
        }
        let object = self.odb.read(blob)?;
        let target = match std::str::from_utf8(object.data()) {
            Ok(target) if !target.is_empty() && !target.contains('\0') => target.to_owned(),
            _ => {
                self.findings.add(Kind::HostileName, format!("{path} -> {}", shown(object.data())));
                return Ok(());
            }
        };
        drop(object);
        self.count(target.len() as u64);
        self.links.insert(path.clone(), target.clone());
        self.survey.entries.push(Entry { path, body: Body::Link { target } });
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.survey.files += 1;
        let before = self.survey.bytes;
        self.survey.bytes = before.saturating_add(bytes);
        if before <= self.limits.total_bytes && self.survey.bytes > self.limits.total_bytes {
            self.findings.add(Kind::TreeTooBig, format!("more than {}", size(self.limits.total_bytes)));
        }
    }

    fn blob_size(&self, blob: Oid) -> Result<u64, git2::Error> {
        let (bytes, kind) = self.odb.read_header(blob)?;
        if kind != ObjectType::Blob {
            return Err(git2::Error::from_str("a file of the tree is not a blob"));
        }
        Ok(bytes as u64)
    }

    fn is_pointer(&self, blob: Oid) -> Result<bool, git2::Error> {
        let object = self.odb.read(blob)?;
        let head = POINTER_HEADS.iter().any(|head| object.data().starts_with(head));
        Ok(head && object.data().windows(5).any(|window| window == b"\noid "))
    }

    /// Judges links once all are known: one can lead out through another.
    fn judge_links(&mut self) {
        let mut judge = Judge::new(&self.links);
        for entry in &self.survey.entries {
            let Body::Link { target } = &entry.body else { continue };
            let kind = match judge.leaves(&entry.path) {
                Ok(false) => continue,
                Ok(true) => Kind::LinkLeavesTree,
                Err(Tangled) => Kind::LinksTangled,
            };
            let line = format!("{} -> {}", shown(entry.path.as_bytes()), shown(target.as_bytes()));
            self.findings.add(kind, line);
            if kind == Kind::LinksTangled {
                return;
            }
        }
    }
}

/// Names met so far in one folder, by the keys under which two are one.
#[derive(Default)]
struct Siblings {
    looks: HashMap<String, String>,
    folds: HashMap<String, String>,
}

impl Siblings {
    /// The earlier name that this one clashes with.
    fn clash(&mut self, name: &str) -> Option<(Kind, String)> {
        if let Some(other) = self.looks.insert(names::look(name), name.to_owned()) {
            return Some((Kind::UnicodeClash, other));
        }
        let other = self.folds.insert(names::fold(name), name.to_owned())?;
        Some((Kind::CaseClash, other))
    }
}

#[cfg(test)]
mod tests;
