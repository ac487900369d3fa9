//! A repository that is a copy: its packs, refs and cuts are brought from where the truth is, and what a push adds goes there.
//!
//! Nothing here knows where that is. A copy says of which state it is ([`Repositories::copied`]); packs only come until the state is
//! noted, so that what was cut off half-way is done again and a reader never misses an object that a ref needs.

use crate::history::oid;
use crate::repositories::sync_dir;
use crate::{Repositories, SourceError};
use hythe_model::{CommitId, ToolName};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The file that says of which state a copy is, and by its time when it was used last; git knows nothing of it.
pub(crate) const MARK: &str = "hythe-copied";

/// Of which state a copy is: the repository's number and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Which repository: another one where a tool of the same name was made anew.
    pub id: i64,
    /// Which state of it.
    pub version: i64,
}

/// The files of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFiles {
    /// The objects.
    pub pack: PathBuf,
    /// Where in it they are; a pack without it is not there for git.
    pub index: PathBuf,
}

impl Repositories {
    /// Of which state a tool's repository is a copy; `None` where there is no copy.
    pub fn copied(&self, tool: &ToolName) -> Option<Copied> {
        let text = fs::read_to_string(self.path(tool).join(MARK)).ok()?;
        let (id, version) = text.trim().split_once(' ')?;
        Some(Copied { id: id.parse().ok()?, version: version.parse().ok()? })
    }

    /// Notes of which state a tool's repository is a copy now.
    pub fn set_copied(&self, tool: &ToolName, copied: Copied) -> Result<(), SourceError> {
        let path = self.path(tool).join(MARK);
        let fresh = path.with_extension("new");
        let written = fs::write(&fresh, format!("{} {}\n", copied.id, copied.version));
        let written = written.and_then(|()| fs::rename(&fresh, &path));
        written.map_err(|source| SourceError::Prepare { path, source })
    }

    /// Makes what was a copy this server's own; one that is none stays as it is.
    pub fn own(&self, tool: &ToolName) -> Result<(), SourceError> {
        let path = self.path(tool).join(MARK);
        remove(&path).map_err(|source| SourceError::Prepare { path, source })
    }

    /// Names of the packs that a tool's repository has whole.
    pub fn packs(&self, tool: &ToolName) -> Result<BTreeSet<String>, SourceError> {
        let folder = self.pack_folder(tool);
        let failed = |source| SourceError::Prepare { path: folder.clone(), source };
        let names = pack_names(&folder).map_err(failed)?;
        Ok(names.into_iter().filter(|name| folder.join(format!("{name}.pack")).is_file()).collect())
    }

    /// Where the files of a pack are, or are to be put: the index last.
    pub fn pack_files(&self, tool: &ToolName, name: &str) -> PackFiles {
        let folder = self.pack_folder(tool);
        PackFiles { pack: folder.join(format!("{name}.pack")), index: folder.join(format!("{name}.idx")) }
    }

    /// Commits at which the history in this repository is cut off.
    pub fn cut_commits(&self, tool: &ToolName) -> Result<Vec<CommitId>, SourceError> {
        let repository = self.git2(tool)?;
        let odb = repository.odb().map_err(|source| SourceError::Read { tool: tool.clone(), source })?;
        let text = fs::read_to_string(self.path(tool).join("shallow")).unwrap_or_default();
        let cuts = text.lines().filter_map(|line| line.trim().parse::<CommitId>().ok());
        // A push that is under way has noted cuts whose commits are still to come.
        Ok(cuts.filter(|cut| oid(tool, cut).is_ok_and(|oid| odb.exists(oid))).collect())
    }

    /// Makes refs, head and cuts what they are where the truth is. The objects are here already.
    pub fn set_refs(
        &self,
        tool: &ToolName,
        refs: &BTreeMap<String, CommitId>,
        head: &str,
        cuts: &BTreeSet<CommitId>,
    ) -> Result<(), SourceError> {
        if !cuts.is_empty() {
            self.change_shallow(tool, |all| all.extend(cuts.iter().map(ToString::to_string)))?;
        }
        let now = self.refs(tool)?;
        let mut script = String::new();
        for (name, commit) in refs.iter().filter(|(name, commit)| now.get(*name) != Some(commit)) {
            let _ = writeln!(script, "update {name} {commit}");
        }
        for name in now.keys().filter(|name| !refs.contains_key(*name)) {
            let _ = writeln!(script, "delete {name}");
        }
        if !script.is_empty() {
            self.git_with(tool, &["update-ref", "--no-deref", "--stdin"], &script)?;
        }
        self.git_with(tool, &["symbolic-ref", "HEAD", head], "")
    }

    /// Puts everything into one pack, what no ref names too: a push may be about to name it.
    pub fn repack(&self, tool: &ToolName) -> Result<(), SourceError> {
        self.git_with(tool, &["repack", "-a", "-d", "-k", "-q"], "")
    }

    /// Removes packs that are not among these and older than `grace`: younger ones may be of a push under way.
    pub fn retire_packs(
        &self,
        tool: &ToolName,
        keep: &BTreeSet<String>,
        grace: Duration,
    ) -> Result<(), SourceError> {
        let folder = self.pack_folder(tool);
        let failed = |source| SourceError::Prepare { path: folder.clone(), source };
        for name in pack_names(&folder).map_err(failed)?.difference(keep) {
            let files = self.pack_files(tool, name);
            let written = fs::metadata(&files.pack).and_then(|stat| stat.modified());
            if written.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > grace)) {
                // The index first: a pack without one is not there for git.
                for path in [&files.index, &folder.join(format!("{name}.rev")), &files.pack] {
                    remove(path).map_err(failed)?;
                }
            }
        }
        sync_dir(&folder).map_err(failed)
    }

    fn pack_folder(&self, tool: &ToolName) -> PathBuf {
        self.path(tool).join("objects/pack")
    }

    /// Where all refs stand.
    pub fn refs(&self, tool: &ToolName) -> Result<BTreeMap<String, CommitId>, SourceError> {
        let failed = |source| SourceError::Read { tool: tool.clone(), source };
        let repository = self.git2(tool)?;
        let mut found = BTreeMap::new();
        for reference in repository.references().map_err(failed)? {
            let reference = reference.map_err(failed)?;
            if let (Ok(name), Some(target)) = (reference.name(), reference.target()) {
                found.insert(name.to_owned(), crate::repositories::commit_id(target));
            }
        }
        Ok(found)
    }

    /// The ref that a clone checks out.
    pub fn head(&self, tool: &ToolName) -> Result<String, SourceError> {
        let failed = |source| SourceError::Read { tool: tool.clone(), source };
        let repository = self.git2(tool)?;
        let head = repository.find_reference("HEAD").map_err(failed)?;
        let target = head.symbolic_target().map_err(failed)?;
        Ok(target.unwrap_or("refs/heads/main").to_owned())
    }

    /// Runs git in a repository with this input.
    fn git_with(&self, tool: &ToolName, args: &[&str], input: &str) -> Result<(), SourceError> {
        let mut command = self.git_command(tool)?;
        let failed = |why: String| SourceError::Write {
            tool: tool.clone(),
            reference: args.first().copied().unwrap_or_default().to_owned(),
            why,
        };
        feed(command.args(args), input).map_err(SourceError::Git)?.map_err(failed)
    }
}

/// Runs a command with this input to its end; the inner error is what it printed.
fn feed(command: &mut Command, input: &str) -> io::Result<Result<(), String>> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| io::Error::other("it has no input"))?;
    let text = input.to_owned();
    // Beside it, so that a child that says much before it has read all is not waited for in vain.
    let feeder = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    let fed = feeder.join().map_err(|_| io::Error::other("its input could not be written"))?;
    if output.status.success() {
        return fed.map(Ok);
    }
    Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Names of the packs in a folder that have an index.
fn pack_names(folder: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
    let names: HashSet<String> = names.collect::<io::Result<_>>()?;
    let packs = names.iter().filter_map(|name| name.strip_suffix(".idx"));
    Ok(packs.filter(|name| name.starts_with("pack-")).map(str::to_owned).collect())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    /// Carries what one repository has to another, as replicas do.
    fn carry(from: &Fixture, to: &Fixture, refs: &[(&str, &str)]) {
        for name in from.repositories.packs(&from.tool).unwrap() {
            let (source, target) = (
                from.repositories.pack_files(&from.tool, &name),
                to.repositories.pack_files(&to.tool, &name),
            );
            fs::copy(source.pack, target.pack).unwrap();
            fs::copy(source.index, target.index).unwrap();
        }
        let refs = refs.iter().map(|(name, commit)| ((*name).to_owned(), commit.parse().unwrap())).collect();
        let head = "refs/heads/main";
        let cuts = from.repositories.cut_commits(&from.tool).unwrap().into_iter().collect();
        to.repositories.set_refs(&to.tool, &refs, head, &cuts).unwrap();
    }

    #[test]
    fn a_copy_follows_what_it_is_a_copy_of() {
        let (one, two) = (Fixture::new(), Fixture::new());
        let blob = one.blob(b"one");
        let tree = one.tree(&[(crate::fixture::FILE, &blob, b"file")]);
        let first = one.git(&["commit-tree", &tree, "-m", "One"], b"");
        let second = one.git(&["commit-tree", &tree, "-m", "Two", "-p", &first], b"");
        for (name, commit) in [("refs/heads/main", &second), ("refs/hythe/builds/1", &first)] {
            one.git(&["update-ref", name, commit], b"");
        }
        one.repositories.repack(&one.tool).unwrap();
        assert_eq!(one.repositories.packs(&one.tool).unwrap().len(), 1);

        assert_eq!(two.repositories.copied(&two.tool), None);
        carry(&one, &two, &[("refs/heads/main", &second), ("refs/hythe/builds/1", &first)]);
        assert_eq!(two.git(&["rev-parse", "HEAD"], b""), second);
        two.git(&["fsck", "--strict"], b"");
        carry(&one, &two, &[("refs/heads/main", &first)]);
        assert_eq!(
            two.git(&["for-each-ref", "--format=%(refname) %(objectname)"], b""),
            format!("refs/heads/main {first}")
        );
        two.repositories.set_copied(&two.tool, Copied { id: 4, version: 12 }).unwrap();
        assert_eq!(two.repositories.copied(&two.tool), Some(Copied { id: 4, version: 12 }));

        let keep = two.repositories.packs(&two.tool).unwrap();
        two.repositories.retire_packs(&two.tool, &BTreeSet::new(), Duration::from_hours(1)).unwrap();
        assert_eq!(two.repositories.packs(&two.tool).unwrap(), keep, "too young");
        two.repositories.retire_packs(&two.tool, &BTreeSet::new(), Duration::ZERO).unwrap();
        assert!(two.repositories.packs(&two.tool).unwrap().is_empty());
        let missing = [("refs/heads/other".to_owned(), second.parse().unwrap())].into();
        let refused = two.repositories.set_refs(&two.tool, &missing, "refs/heads/main", &BTreeSet::new());
        assert!(refused.is_err(), "a ref never names what is not here");
    }
}
