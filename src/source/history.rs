//! Questions about history: does a push go forward, is it complete, and what does a commit say of itself.

use crate::tree::{SurveyError, survey};
use crate::{Quarantine, Repositories, SourceError};
use git2::{ObjectType, Oid, Repository};
use hythe_model::{CommitId, Fault, ToolName};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::Write;
use std::path::Path;

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
        let id = oid(tool, commit).map_err(|error| error.fault())?;
        match survey(&repository, id, self.limits()) {
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
        let (old, new) = (oid(tool, old)?, oid(tool, new)?);
        // The common case is decided by a few commits; only where it is not, all of history is read.
        if repository.graph_descendant_of(new, old).unwrap_or(false) {
            return Ok(Lineage::Forward);
        }
        let shallow = self.shallow(tool);
        let read = |source| SourceError::Read { tool: tool.clone(), source };
        let history = History::read(&repository, new, &shallow).map_err(read)?;
        Ok(match (history.seen.contains(&old), history.cut) {
            (true, _) => Lineage::Forward,
            (false, false) => Lineage::Diverged,
            (false, true) => Lineage::Cut,
        })
    }

    /// Notes where the history of a shallow client is cut off, before its objects arrive (git's `shallow` file).
    ///
    /// Git would do this itself when it moves a ref. Where `proc-receive` moves it git stops with a bug of its own
    /// (`connectivity check skipped`, seen in 2.39), so the client's cuts are kept from it and noted here: then it
    /// checks the push like any other. Commits that the repository has already are not cut off by a client's saying so.
    /// What was noted anew is returned, for [`Repositories::forget_cuts`].
    pub fn note_cuts(&self, tool: &ToolName, cuts: &[CommitId]) -> Result<Vec<CommitId>, SourceError> {
        let present = self.git2(tool)?;
        let odb = present.odb().map_err(|source| SourceError::Read { tool: tool.clone(), source })?;
        let mut fresh = cuts.to_vec();
        fresh.retain(|cut| Oid::from_str(cut.as_str()).is_ok_and(|oid| !odb.exists(oid)));
        if !fresh.is_empty() {
            for cut in &fresh {
                *self.cuts().entry((tool.clone(), cut.clone())).or_default() += 1;
            }
            self.change_shallow(tool, |all| all.extend(fresh.iter().map(ToString::to_string)))?;
        }
        Ok(fresh)
    }

    /// Takes back those of the noted cuts that did not arrive: the push was refused or broke off.
    pub fn forget_cuts(&self, tool: &ToolName, cuts: &[CommitId]) -> Result<(), SourceError> {
        let present = self.git2(tool)?;
        let odb = present.odb().map_err(|source| SourceError::Read { tool: tool.clone(), source })?;
        let missing = |cut: &&CommitId| Oid::from_str(cut.as_str()).is_ok_and(|oid| !odb.exists(oid));
        let unused: Vec<&CommitId> = cuts.iter().filter(|cut| self.let_go(tool, cut)).collect();
        let missing: HashSet<&str> = unused.into_iter().filter(missing).map(CommitId::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.change_shallow(tool, |all| all.retain(|line| !missing.contains(line.as_str())))
    }

    /// Counts one push less that relies on a cut; whether it was the last.
    fn let_go(&self, tool: &ToolName, cut: &CommitId) -> bool {
        let (mut cuts, key) = (self.cuts(), (tool.clone(), cut.clone()));
        let left = cuts.get(&key).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            cuts.remove(&key);
        } else {
            cuts.insert(key, left);
        }
        left == 0
    }

    /// Rewrites the `shallow` file under git's own lock.
    pub(crate) fn change_shallow(
        &self,
        tool: &ToolName,
        change: impl FnOnce(&mut BTreeSet<String>),
    ) -> Result<(), SourceError> {
        let path = self.path(tool);
        let (file, held) = (path.join("shallow"), path.join("shallow.lock"));
        let failed = |source| SourceError::Prepare { path: file.clone(), source };
        let mut lock = lock_shallow(&held).map_err(failed)?;
        let mut all: BTreeSet<String> = self.shallow(tool).iter().map(ToString::to_string).collect();
        change(&mut all);
        let text = all.iter().fold(String::new(), |text, line| text + line + "\n");
        let written = lock.write_all(text.as_bytes()).and_then(|()| lock.sync_all());
        let outcome = written.and_then(|()| {
            if all.is_empty() {
                // An empty file would still mean "shallow" to git.
                fs::remove_file(&file).and_then(|()| fs::remove_file(&held))
            } else {
                fs::rename(&held, &file)
            }
        });
        if outcome.is_err() {
            let _ = fs::remove_file(&held);
        }
        outcome.and_then(|()| crate::repositories::sync_dir(&path)).map_err(failed)
    }

    /// The first line of a commit, shortened and without control characters.
    pub fn subject(&self, tool: &ToolName, commit: &CommitId) -> Result<String, SourceError> {
        let repository = self.git2(tool)?;
        let read = |source| SourceError::Read { tool: tool.clone(), source };
        Ok(subject(&repository.find_commit(oid(tool, commit)?).map_err(read)?))
    }

    /// Whether an object name is that of a commit, in the repository or the quarantine.
    pub fn is_commit(&self, tool: &ToolName, name: &CommitId, quarantine: Option<&Quarantine>) -> bool {
        let found = || {
            let repository = self.reader(tool, quarantine).ok()?;
            let (_, kind) = repository.odb().ok()?.read_header(oid(tool, name).ok()?).ok()?;
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

    /// Commits at which git takes history to end.
    fn shallow(&self, tool: &ToolName) -> HashSet<Oid> {
        let text = fs::read_to_string(self.path(tool).join("shallow")).unwrap_or_default();
        text.lines().filter_map(|line| Oid::from_str(line.trim()).ok()).collect()
    }
}

/// The object name as libgit2 knows it.
pub(crate) fn oid(tool: &ToolName, commit: &CommitId) -> Result<Oid, SourceError> {
    Oid::from_str(commit.as_str()).map_err(|source| SourceError::Read { tool: tool.clone(), source })
}

/// Commits reachable from one.
struct History {
    seen: HashSet<Oid>,
    /// Whether it is cut off somewhere.
    cut: bool,
}

impl History {
    fn read(repository: &Repository, from: Oid, shallow: &HashSet<Oid>) -> Result<Self, git2::Error> {
        let odb = repository.odb()?;
        let mut history = Self { seen: HashSet::new(), cut: false };
        let mut todo = vec![from];
        while let Some(oid) = todo.pop() {
            if !history.seen.insert(oid) {
                continue;
            }
            if shallow.contains(&oid) {
                history.cut = true;
                continue;
            }
            let object = odb.read(oid)?;
            todo.extend(parents(object.data()).into_iter().filter(|parent| !history.seen.contains(parent)));
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
fn lock_shallow(path: &Path) -> std::io::Result<fs::File> {
    for _ in 0..100 {
        match fs::OpenOptions::new().write(true).create_new(true).open(path) {
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
