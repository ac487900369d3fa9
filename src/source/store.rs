//! Source trees as archives, named by their digest.
//!
//! Enter at [`SourceStore::read_tree`]. An archive's bytes depend on the tree alone: order, times, owners and modes
//! are fixed. A name in the folder is always a whole, durable archive.

use crate::history::{incomplete, oid, subject};
use crate::repositories::sync_dir;
use crate::tree::{Body, Entry, Survey, SurveyError, survey};
use crate::{Repositories, SourceError};
use git2::Odb;
use hythe_model::{CommitId, Digest, Fault, SourceTree, ToolName};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tar::{Builder, EntryType, Header};

/// The time of every entry: 1980-01-01 00:00:01 UTC, as CNB exporters write; zip and pip dislike earlier ones.
const MTIME: u64 = 315_532_801;

/// The folder of archives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SourceStore {
    dir: Arc<PathBuf>,
}

impl SourceStore {
    /// Opens the folder; makes it where needed and removes what a crash left half-written.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, SourceError> {
        let dir = dir.into();
        let sweep = || -> io::Result<()> {
            fs::create_dir_all(&dir)?;
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                if entry.file_name().to_str().is_some_and(|name| name.starts_with(".new-")) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        sweep().map_err(|source| SourceError::Prepare { path: dir.clone(), source })?;
        Ok(Self { dir: Arc::new(dir) })
    }

    /// Reads the tree of a commit, checks it by every rule and keeps it durably.
    pub fn read_tree(
        &self,
        repositories: &Repositories,
        tool: &ToolName,
        commit: &CommitId,
    ) -> Result<SourceTree, Fault> {
        let plain = |error: SourceError| error.fault();
        let repository = repositories.git2(tool).map_err(plain)?;
        let id = oid(tool, commit).map_err(plain)?;
        let survey = survey(&repository, id, repositories.limits()).map_err(|error| match error {
            SurveyError::Refused(fault) => fault,
            SurveyError::Unreadable(error) => incomplete(&error),
        })?;
        let said = repository.find_commit(id).map_err(|error| incomplete(&error))?;
        let odb = repository.odb().map_err(|error| incomplete(&error))?;
        let digest = self.keep(&survey, &odb).map_err(plain)?;
        Ok(SourceTree {
            commit: commit.clone(),
            subject: subject(&said),
            digest,
            files: survey.files,
            bytes: survey.bytes,
            project: survey.project,
        })
    }

    /// Where the archive with this digest lies.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.tar", digest.hex()))
    }

    /// Whether there is an archive with this digest.
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Removes the archives that are older than `grace`, but not those of `keep`; how many went.
    ///
    /// Whoever reads a tree makes its archive young again, so that `grace` is the time in which the build's row must
    /// follow.
    pub fn prune(&self, keep: &HashSet<Digest>, grace: Duration) -> Result<usize, SourceError> {
        let failed = |source| SourceError::Archive { path: self.dir.to_path_buf(), source };
        let mut removed = 0;
        for entry in fs::read_dir(&*self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".tar"));
            let digest = digits.and_then(|digits| format!("sha256:{digits}").parse::<Digest>().ok());
            let modified = entry.metadata().and_then(|stat| stat.modified());
            // A time in the future is young.
            let is_old = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age >= grace));
            if digest.is_some_and(|digest| is_old && !keep.contains(&digest)) {
                fs::remove_file(entry.path()).map_err(failed)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn keep(&self, survey: &Survey, odb: &Odb<'_>) -> Result<Digest, SourceError> {
        let failed = |source| SourceError::Archive { path: self.dir.to_path_buf(), source };
        let fresh = tempfile::Builder::new().prefix(".new-").tempfile_in(&*self.dir).map_err(failed)?;
        let digest = write_archive(survey, odb, fresh.as_file()).map_err(failed)?;
        fresh.as_file().sync_all().map_err(failed)?;
        fresh.persist(self.path(&digest)).map_err(|error| failed(error.error))?;
        sync_dir(&self.dir).map_err(failed)?;
        Ok(digest)
    }
}

/// Writes the archive; holds one file's contents at a time, which the limits bound.
fn write_archive(survey: &Survey, odb: &Odb<'_>, file: &File) -> io::Result<Digest> {
    let mut builder =
        Builder::new(Hashing { inner: BufWriter::with_capacity(1 << 18, file), hash: Sha256::new() });
    for entry in &survey.entries {
        append(&mut builder, entry, odb)?;
    }
    let mut out = builder.into_inner()?;
    out.inner.flush()?;
    Ok(Digest::sha256(out.hash.finalize().into()))
}

fn append<W: Write>(builder: &mut Builder<W>, entry: &Entry, odb: &Odb<'_>) -> io::Result<()> {
    let path = Path::new(&entry.path);
    match &entry.body {
        Body::Folder => {
            let mut header = header(EntryType::Directory, 0o755, 0);
            builder.append_data(&mut header, format!("{}/", entry.path), io::empty())
        }
        Body::File { blob, bytes, executable } => {
            let object = odb.read(*blob).map_err(io::Error::other)?;
            if object.len() as u64 != *bytes {
                return Err(io::Error::other("an object changed its size"));
            }
            let mut header = header(EntryType::Regular, if *executable { 0o755 } else { 0o644 }, *bytes);
            builder.append_data(&mut header, path, object.data())
        }
        Body::Link { target } => {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            builder.append_link(&mut header, path, target)
        }
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(MTIME);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Hashes what passes.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
