//! Questions about history: does a push go forward, is it complete, and what does a commit say of itself.

use crate::git::clean;
use crate::repositories::commit_id;
use crate::tree::{SurveyError, survey};
use crate::{Quarantine, Repositories, SourceError};
use git2::{ObjectType, Oid, Repository};
use hythe_model::{CommitId, Fault, ToolName};
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;

/// How a new commit stands to an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lineage {
    /// The old one is in the new one's history, or is the new one.
    Forward,
    /// It is not.
    Diverged,
    /// The new one's history is cut off by a shallow clone before the old one was found.
    Cut,
}

/// Characters of a commit's first line that are kept.
const SUBJECT: usize = 100;

impl Repositories {
    /// Judges the tree of a commit by every rule of this room, without storing it.
    pub fn check(
        &self,
        tool: &ToolName,
        commit: &CommitId,
        quarantine: Option<&Quarantine>,
    ) -> Result<(), Fault> {
        let repository = self.reader(tool, quarantine).map_err(|error| error.fault())?;
        let oid = self.oid(tool, commit).map_err(|error| error.fault())?;
        match survey(&repository, oid, self.limits()) {
            Ok(_) => Ok(()),
            Err(SurveyError::Refused(fault)) => Err(fault),
            Err(SurveyError::Unreadable(error)) => Err(incomplete(&error)),
        }
    }

    /// How `new` stands to `old`.
    pub fn lineage(
        &self,
        tool: &ToolName,
        old: &CommitId,
        new: &CommitId,
        quarantine: Option<&Quarantine>,
    ) -> Result<Lineage, SourceError> {
        if old == new {
            return Ok(Lineage::Forward);
        }
        let repository = self.reader(tool, quarantine)?;
        let (old, new) = (self.oid(tool, old)?, self.oid(tool, new)?);
        // The common case is decided by a few commits; only where it is not, all of history is read.
        if repository.graph_descendant_of(new, old).unwrap_or(false) {
            return Ok(Lineage::Forward);
        }
        let shallow = self.shallow(tool);
        let read = |source| SourceError::Read { tool: tool.clone(), source };
        let history = History::read(&repository, new, &shallow, |_| false).map_err(read)?;
        Ok(match (history.seen.contains(&old), history.cuts.is_empty()) {
            (true, _) => Lineage::Forward,
            (false, true) => Lineage::Diverged,
            (false, false) => Lineage::Cut,
        })
    }

    /// Commits of a push whose parents neither it nor the repository has: where a shallow clone was cut off.
    pub fn cuts(
        &self,
        tool: &ToolName,
        new: &CommitId,
        quarantine: &Quarantine,
    ) -> Result<Vec<CommitId>, SourceError> {
        let repository = self.reader(tool, Some(quarantine))?;
        let present = self.git2(tool)?;
        let read = |source| SourceError::Read { tool: tool.clone(), source };
        let odb = present.odb().map_err(read)?;
        let shallow = self.shallow(tool);
        let history = History::read(&repository, self.oid(tool, new)?, &shallow, |oid| odb.exists(oid));
        let mut cuts = history.map_err(read)?.cuts;
        cuts.retain(|cut| !shallow.contains(cut));
        Ok(cuts.into_iter().map(commit_id).collect())
    }

    /// Whether everything that `new` needs is there, but for what lies behind `cuts`; git itself says.
    ///
    /// Git leaves this question open where a push brings new cuts, so it must be asked.
    pub fn is_connected(
        &self,
        tool: &ToolName,
        new: &CommitId,
        cuts: &[CommitId],
        quarantine: &Quarantine,
    ) -> Result<bool, SourceError> {
        let repository = self.path(tool);
        let prepare = |source| SourceError::Prepare { path: repository.clone(), source };
        let mut file =
            tempfile::Builder::new().prefix("shallow-").tempfile_in(&repository).map_err(prepare)?;
        let known = self.shallow(tool).iter().map(ToString::to_string).collect::<Vec<_>>();
        for cut in known.iter().map(String::as_str).chain(cuts.iter().map(CommitId::as_str)) {
            writeln!(file, "{cut}").map_err(prepare)?;
        }
        let status = clean(self.git_program())
            .arg("--git-dir")
            .arg(&repository)
            .arg("--shallow-file")
            .arg(file.path())
            .args(["rev-list", "--objects", "--quiet", new.as_str(), "--not", "--all"])
            .env("GIT_OBJECT_DIRECTORY", quarantine.path())
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", repository.join("objects"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(SourceError::Git)?;
        Ok(status.success())
    }

    /// Notes where pushed histories were cut off, so that git does not miss what lies behind (its `shallow` file).
    pub fn note_cuts(&self, tool: &ToolName, cuts: &[CommitId]) -> Result<(), SourceError> {
        if cuts.is_empty() {
            return Ok(());
        }
        let path = self.path(tool);
        let failed = |source| SourceError::Prepare { path: path.join("shallow"), source };
        let mut lock = lock_shallow(&path).map_err(failed)?;
        let mut all: Vec<String> = self.shallow(tool).iter().map(ToString::to_string).collect();
        all.extend(cuts.iter().map(ToString::to_string));
        all.sort();
        all.dedup();
        let outcome = writeln!(lock, "{}", all.join("\n"))
            .and_then(|()| lock.sync_all())
            .and_then(|()| fs::rename(path.join("shallow.lock"), path.join("shallow")))
            .and_then(|()| crate::repositories::sync_dir(&path));
        if outcome.is_err() {
            let _ = fs::remove_file(path.join("shallow.lock"));
        }
        outcome.map_err(failed)
    }

    /// The first line of a commit, shortened and without control characters.
    pub fn subject(&self, tool: &ToolName, commit: &CommitId) -> Result<String, SourceError> {
        let repository = self.git2(tool)?;
        let read = |source| SourceError::Read { tool: tool.clone(), source };
        Ok(subject(&repository.find_commit(self.oid(tool, commit)?).map_err(read)?))
    }

    /// Whether an object name is that of a commit, in the repository or the quarantine.
    pub fn is_commit(&self, tool: &ToolName, name: &CommitId, quarantine: Option<&Quarantine>) -> bool {
        let found = || {
            let repository = self.reader(tool, quarantine).ok()?;
            let (_, kind) = repository.odb().ok()?.read_header(self.oid(tool, name).ok()?).ok()?;
            Some(kind == ObjectType::Commit)
        };
        found().unwrap_or(false)
    }

    /// A repository that also sees a quarantine.
    fn reader(&self, tool: &ToolName, quarantine: Option<&Quarantine>) -> Result<Repository, SourceError> {
        let repository = self.git2(tool)?;
        if let Some(quarantine) = quarantine {
            let path = quarantine
                .path()
                .to_str()
                .ok_or_else(|| SourceError::Quarantine(quarantine.path().into()))?;
            let read = |source| SourceError::Read { tool: tool.clone(), source };
            repository.odb().and_then(|odb| odb.add_disk_alternate(path)).map_err(read)?;
        }
        Ok(repository)
    }

    pub(crate) fn oid(&self, tool: &ToolName, commit: &CommitId) -> Result<Oid, SourceError> {
        let read = |source| SourceError::Read { tool: tool.clone(), source };
        Oid::from_str(commit.as_str()).map_err(read)
    }

    /// Commits at which git takes history to end.
    fn shallow(&self, tool: &ToolName) -> HashSet<Oid> {
        let text = fs::read_to_string(self.path(tool).join("shallow")).unwrap_or_default();
        text.lines().filter_map(|line| Oid::from_str(line.trim()).ok()).collect()
    }
}

/// Commits reachable from one, and those among them whose parents are missing.
struct History {
    seen: HashSet<Oid>,
    cuts: Vec<Oid>,
}

impl History {
    /// Reads from `from` back; does not go past commits that `known` vouches for.
    fn read(
        repository: &Repository,
        from: Oid,
        shallow: &HashSet<Oid>,
        known: impl Fn(Oid) -> bool,
    ) -> Result<Self, git2::Error> {
        let odb = repository.odb()?;
        let mut history = Self { seen: HashSet::new(), cuts: Vec::new() };
        let mut todo = vec![from];
        while let Some(oid) = todo.pop() {
            if !history.seen.insert(oid) || known(oid) {
                continue;
            }
            let object = odb.read(oid)?;
            let mut cut = shallow.contains(&oid);
            for parent in parents(object.data()) {
                if cut || history.seen.contains(&parent) {
                    continue;
                }
                match odb.exists(parent) {
                    true => todo.push(parent),
                    false => cut = true,
                }
            }
            if cut {
                history.cuts.push(oid);
            }
        }
        Ok(history)
    }
}

/// The parents that a raw commit names. Read from its bytes, because libgit2 hides those behind a cut.
fn parents(commit: &[u8]) -> Vec<Oid> {
    let lines = commit.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| std::str::from_utf8(line.strip_prefix(b"parent ")?).ok());
    names.filter_map(|name| Oid::from_str(name).ok()).collect()
}

/// The first line of a commit's message as it may be shown.
pub(crate) fn subject(commit: &git2::Commit<'_>) -> String {
    let text = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let clean = line.chars().filter(|c| !c.is_control() && !crate::names::is_direction(*c));
    let mut subject: String = clean.clone().take(SUBJECT).collect();
    if clean.count() > SUBJECT {
        subject.push_str("...");
    }
    subject
}

/// The fault of a commit whose objects cannot all be read.
pub(crate) fn incomplete(error: &git2::Error) -> Fault {
    tracing::warn!(%error, "a pushed tree could not be read");
    Fault::new(
        "source/incomplete",
        "The source was refused: objects of the pushed commit are missing or damaged.",
    )
    .why(error.message().to_owned())
    .next("Check your clone: git fsck. Then push again.")
}

/// Takes git's own lock of the `shallow` file.
fn lock_shallow(repository: &std::path::Path) -> std::io::Result<fs::File> {
    let path = repository.join("shallow.lock");
    for _ in 0..100 {
        match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            other => return other,
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::WouldBlock, "shallow.lock is held"))
}

#[cfg(test)]
mod tests;
