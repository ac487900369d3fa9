//! Who uses a repository, and copies that nobody has used for a while.
//!
//! Whoever has git work in a repository keeps an [`InUse`] for as long; whoever reads it in passing notes that before
//! ([`Repositories::note_use`]), and has the time after it that copies stay. Both and the removal of a copy go one after the other, so
//! that none goes between somebody's look at it and their use of it.

use crate::replica::MARK;
use crate::{Repositories, SourceError};
use hythe_model::ToolName;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A repository that somebody uses, until this is dropped: as a copy it stays.
#[derive(Debug)]
pub struct InUse {
    repositories: Repositories,
    tool: ToolName,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut uses = self.repositories.uses();
        if let Some(count) = uses.get_mut(&self.tool) {
            *count -= 1;
            if *count == 0 {
                uses.remove(&self.tool);
            }
        }
        self.repositories.mark_used(&self.tool);
    }
}

/// What a copy takes, and since when nobody uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyUse {
    /// Whose repository it is a copy of.
    pub tool: ToolName,
    /// How long nobody has used it.
    pub idle: Duration,
    /// Its files together.
    pub bytes: u64,
}

impl Repositories {
    /// Keeps a tool's repository here as long as it is used, whether it is here yet or not.
    pub fn enter(&self, tool: &ToolName) -> InUse {
        *self.uses().entry(tool.clone()).or_default() += 1;
        InUse { repositories: self.clone(), tool: tool.clone() }
    }

    /// Notes that a tool's copy is about to be used. Look then whether it is here.
    pub fn note_use(&self, tool: &ToolName) {
        let _one_at_a_time = self.uses();
        self.mark_used(tool);
    }

    /// All copies.
    pub fn copies(&self) -> Result<Vec<CopyUse>, SourceError> {
        let mut copies = Vec::new();
        for tool in self.list()? {
            let Some(idle) = self.idle(&tool) else { continue };
            let idle = if self.uses().contains_key(&tool) { Duration::ZERO } else { idle };
            let path = self.path(&tool);
            let bytes = bytes_below(&path).map_err(|source| SourceError::Prepare { path, source })?;
            copies.push(CopyUse { tool, idle, bytes });
        }
        Ok(copies)
    }

    /// Removes a tool's copy where nobody uses it, or has for so long; whether it went.
    pub fn drop_copy(&self, tool: &ToolName, idle: Duration) -> Result<bool, SourceError> {
        let grave = {
            let uses = self.uses();
            if uses.contains_key(tool) || self.idle(tool).is_none_or(|since| since < idle) {
                return Ok(false);
            }
            self.take_away(tool)?
        };
        self.bury(tool, grave).map(|()| true)
    }

    /// How long nobody has used a tool's copy; `None` where there is no copy.
    fn idle(&self, tool: &ToolName) -> Option<Duration> {
        self.copied(tool)?;
        let used = fs::metadata(self.path(tool).join(MARK)).and_then(|stat| stat.modified()).ok()?;
        // A time in the future is young.
        Some(used.elapsed().unwrap_or_default())
    }

    fn mark_used(&self, tool: &ToolName) {
        let mark = File::options().write(true).open(self.path(tool).join(MARK));
        // What is no copy bears none. A copy whose use cannot be noted goes sooner, and is brought here anew.
        let _ = mark.and_then(|mark| mark.set_modified(SystemTime::now()));
    }
}

/// The bytes of the files below a folder; what goes meanwhile counts nothing.
fn bytes_below(folder: &Path) -> io::Result<u64> {
    let (mut bytes, mut left) = (0, vec![folder.to_owned()]);
    while let Some(folder) = left.pop() {
        let Some(entries) = there(fs::read_dir(folder))? else { continue };
        for entry in entries {
            let entry = entry?;
            match there(entry.metadata())? {
                Some(stat) if stat.is_dir() => left.push(entry.path()),
                Some(stat) => bytes += stat.len(),
                None => {}
            }
        }
    }
    Ok(bytes)
}

/// What was found; `None` where nothing is there.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Copied;
    use crate::fixture::Fixture;

    const HOUR: Duration = Duration::from_hours(1);

    /// A copy that was used two hours ago.
    fn copy() -> Fixture {
        let fixture = Fixture::new();
        fixture.repositories.set_copied(&fixture.tool, Copied { id: 1, version: 1 }).unwrap();
        age(&fixture);
        fixture
    }

    fn age(fixture: &Fixture) {
        let mark = fixture.repositories.path(&fixture.tool).join(MARK);
        let mark = File::options().write(true).open(mark).unwrap();
        mark.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
    }

    #[test]
    fn a_copy_goes_whole_when_nobody_has_used_it_for_a_while() {
        let fixture = copy();
        let (repositories, tool) = (&fixture.repositories, &fixture.tool);
        fixture.blob(&[7; 1000]);
        let copies = repositories.copies().unwrap();
        assert_eq!(copies.len(), 1);
        assert!(copies[0].idle >= 2 * HOUR && copies[0].bytes > 100, "{copies:?}");
        assert!(!repositories.drop_copy(tool, 3 * HOUR).unwrap());
        assert!(repositories.drop_copy(tool, HOUR).unwrap());
        assert!(!repositories.exists(tool) && repositories.copies().unwrap().is_empty());
        assert!(!repositories.drop_copy(tool, HOUR).unwrap(), "there is none any more");
        let left = fs::read_dir(fixture.folder.path().join("repos")).unwrap().count();
        assert_eq!(left, 1, "the hooks alone");
    }

    #[test]
    fn a_copy_stays_while_git_is_in_it_and_for_a_while_after() {
        let fixture = copy();
        let (repositories, tool) = (&fixture.repositories, &fixture.tool);
        let (fetch, push) = (repositories.enter(tool), repositories.enter(tool));
        drop(fetch);
        age(&fixture);
        assert_eq!(repositories.copies().unwrap()[0].idle, Duration::ZERO);
        assert!(!repositories.drop_copy(tool, HOUR).unwrap(), "the push is under way");
        drop(push);
        assert!(!repositories.drop_copy(tool, HOUR).unwrap(), "it has just ended");
        age(&fixture);
        repositories.note_use(tool);
        assert!(!repositories.drop_copy(tool, HOUR).unwrap(), "somebody is about to read it");
        age(&fixture);
        assert!(repositories.drop_copy(tool, HOUR).unwrap());
    }

    #[test]
    fn what_is_no_copy_never_goes() {
        let fixture = Fixture::new();
        let (repositories, tool) = (&fixture.repositories, &fixture.tool);
        let push = repositories.enter(tool);
        assert!(repositories.copies().unwrap().is_empty());
        drop(push);
        repositories.note_use(tool);
        assert!(!repositories.drop_copy(tool, Duration::ZERO).unwrap());
        assert!(repositories.exists(tool) && repositories.copied(tool).is_none());
    }
}
