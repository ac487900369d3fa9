//! The bare repositories of the tools: made, found, served, and their refs moved.
//!
//! Enter at [`Repositories::open`]. A ref moves only through [`Repositories::move_ref`], by compare-and-swap.

use crate::config::{converge, hook_script, render};
use crate::git::{bounded, clean};
use crate::{HookCommand, Service, SourceError, SourceLimits};
use hythe_model::{CommitId, ToolName};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// How repositories are kept and served.
#[derive(Debug, Clone)]
pub struct RepositoryOptions {
    /// The git program, version 2.36 or newer.
    pub git: PathBuf,
    /// What runs at the hooks of a push.
    pub hook: HookCommand,
    /// Limits on what is pushed.
    pub limits: SourceLimits,
}

/// The folder of repositories, `<tool>.git` each. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repositories {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    options: RepositoryOptions,
    config: String,
    /// Cuts that pushes under way rely on, counted.
    cuts: Mutex<HashMap<(ToolName, CommitId), usize>>,
    /// Repositories in use, counted.
    uses: Mutex<HashMap<ToolName, usize>>,
}

/// Folder of the hooks that every repository shares; no tool's name starts with a dot.
const HOOKS: &str = ".hooks";

impl Repositories {
    /// Opens the folder, which must be an absolute path; makes it and writes the hooks where needed.
    pub fn open(dir: impl Into<PathBuf>, options: RepositoryOptions) -> Result<Self, SourceError> {
        let dir = dir.into();
        let hooks = dir.join(HOOKS);
        let prepare = |path: &Path, source| SourceError::Prepare { path: path.to_owned(), source };
        fs::create_dir_all(&hooks).map_err(|source| prepare(&hooks, source))?;
        for hook in ["pre-receive", "proc-receive"] {
            let path = hooks.join(hook);
            let script = hook_script(&options.hook, hook);
            converge(&path, &script, 0o755).map_err(|source| prepare(&path, source))?;
        }
        sweep(&dir).map_err(|source| prepare(&dir, source))?;
        let config = render(&hooks, &options.limits);
        let (cuts, uses) = (Mutex::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { dir, options, config, cuts, uses }) })
    }

    /// The limits that pushes are held to.
    pub fn limits(&self) -> &SourceLimits {
        &self.inner.options.limits
    }

    /// Where the repository of a tool lies, whether it exists or not.
    pub fn path(&self, tool: &ToolName) -> PathBuf {
        self.inner.dir.join(format!("{tool}.git"))
    }

    /// Whether a tool has a repository.
    pub fn exists(&self, tool: &ToolName) -> bool {
        self.path(tool).join("HEAD").is_file()
    }

    /// Makes an empty repository. It appears whole or not at all.
    pub fn create(&self, tool: &ToolName) -> Result<(), SourceError> {
        if self.exists(tool) {
            return Err(SourceError::Exists(tool.clone()));
        }
        let failed = |why: String| SourceError::Create { tool: tool.clone(), why };
        let fresh = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&self.inner.dir)
            .map_err(|error| failed(error.to_string()))?;
        let mut command = clean(&self.inner.options.git);
        command.args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--"]);
        run(command.arg(fresh.path()))?.map_err(failed)?;
        let io = |error: std::io::Error| failed(error.to_string());
        converge(&fresh.path().join("config"), &self.inner.config, 0o644).map_err(io)?;
        fs::rename(fresh.path(), self.path(tool)).map_err(io)?;
        let _ = fresh.keep();
        sync_dir(&self.inner.dir).map_err(io)
    }

    /// Removes a repository; one that does not exist is fine.
    pub fn delete(&self, tool: &ToolName) -> Result<(), SourceError> {
        let grave = {
            // One that has become idle may go as a copy at this moment.
            let _one_at_a_time = self.uses();
            if !self.exists(tool) {
                return Ok(());
            }
            self.take_away(tool)?
        };
        self.bury(tool, grave)
    }

    /// Moves a repository out of the way of whoever looks for it, so that a crash half-way leaves no half repository under the tool's
    /// name.
    pub(crate) fn take_away(&self, tool: &ToolName) -> Result<TempDir, SourceError> {
        let failed = |source| SourceError::Delete { tool: tool.clone(), source };
        let grave = tempfile::Builder::new().prefix(".old-").tempdir_in(&self.inner.dir).map_err(failed)?;
        fs::rename(self.path(tool), grave.path().join("git")).map_err(failed)?;
        Ok(grave)
    }

    /// Removes what was taken away.
    pub(crate) fn bury(&self, tool: &ToolName, grave: TempDir) -> Result<(), SourceError> {
        let failed = |source| SourceError::Delete { tool: tool.clone(), source };
        sync_dir(&self.inner.dir).map_err(failed)?;
        grave.close().map_err(failed)
    }

    /// Gives a repository's folder a name that is no tool's, and says which.
    pub fn put_aside(&self, tool: &ToolName) -> Result<PathBuf, SourceError> {
        let failed = |source| SourceError::Prepare { path: self.path(tool), source };
        let prefix = format!("{tool}.aside-");
        let aside = tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.inner.dir).map_err(failed)?;
        fs::rename(self.path(tool), aside.path()).map_err(failed)?;
        sync_dir(&self.inner.dir).map_err(failed)?;
        Ok(aside.keep())
    }

    /// Tools that have a repository, sorted.
    pub fn list(&self) -> Result<Vec<ToolName>, SourceError> {
        let failed = |source| SourceError::Prepare { path: self.inner.dir.clone(), source };
        let mut tools = Vec::new();
        for entry in fs::read_dir(&self.inner.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let tool = name.to_str().and_then(|name| name.strip_suffix(".git")).map(str::parse);
            tools.extend(tool.and_then(Result::ok));
        }
        tools.sort();
        Ok(tools)
    }

    /// The git child that serves a connection: a clean environment, our configuration in force, pipes not yet set.
    ///
    /// A push is served in two halves, so that the cuts of a shallow client are known before git reads any
    /// ([`Repositories::note_cuts`]).
    pub fn serve(&self, service: Service, tool: &ToolName) -> Result<Command, SourceError> {
        let path = self.converged(tool)?;
        let mut command = bounded(&self.inner.options.git);
        command.args(service.words()).arg(path);
        Ok(command)
    }

    /// Where a ref stands.
    pub fn reference(&self, tool: &ToolName, name: &str) -> Result<Option<CommitId>, SourceError> {
        let repository = self.git2(tool)?;
        match repository.refname_to_id(name) {
            Ok(oid) => Ok(Some(commit_id(oid))),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(source) => Err(SourceError::Read { tool: tool.clone(), source }),
        }
    }

    /// Moves a ref from `old` (`None`: it must not exist) to `new`, durably, or says [`SourceError::Moved`].
    ///
    /// The first branch that appears becomes what a clone checks out.
    pub fn move_ref(
        &self,
        tool: &ToolName,
        name: &str,
        old: Option<&CommitId>,
        new: &CommitId,
    ) -> Result<(), SourceError> {
        let absent = "0".repeat(new.as_str().len());
        let before = old.map_or(absent.as_str(), CommitId::as_str);
        let outcome = self.git(tool, &["update-ref", "--no-deref", name, new.as_str(), before])?;
        if let Err(why) = outcome {
            let now = self.reference(tool, name)?;
            let (tool, reference) = (tool.clone(), name.to_owned());
            if now.as_ref() == old {
                return Err(SourceError::Write { tool, reference, why });
            }
            return Err(SourceError::Moved { tool, reference, now });
        }
        self.point_head(tool, name)
    }

    /// Removes a ref; one that does not exist is fine.
    pub fn remove_ref(&self, tool: &ToolName, name: &str) -> Result<(), SourceError> {
        let failed = |why| SourceError::Write { tool: tool.clone(), reference: name.to_owned(), why };
        self.git(tool, &["update-ref", "--no-deref", "-d", name])?.map_err(failed)
    }

    /// Removes the refs whose names begin with `prefix` but for those that stay; how many went.
    pub fn prune_refs(
        &self,
        tool: &ToolName,
        prefix: &str,
        stays: impl Fn(&str, &CommitId) -> bool,
    ) -> Result<usize, SourceError> {
        let failed = |source| SourceError::Read { tool: tool.clone(), source };
        let repository = self.git2(tool)?;
        let mut stale = Vec::new();
        for reference in repository.references_glob(&format!("{prefix}*")).map_err(failed)? {
            let reference = reference.map_err(failed)?;
            let target = reference.target().map(commit_id);
            if let (Ok(name), Some(commit)) = (reference.name(), target)
                && !stays(name, &commit)
            {
                stale.push(reference);
            }
        }
        stale.iter_mut().try_for_each(git2::Reference::delete).map_err(failed)?;
        Ok(stale.len())
    }

    /// Packs a repository where it has become slow to read; what no ref names is kept for two weeks. Not while a push is
    /// under way, whose cuts git would tidy up.
    pub fn maintain(&self, tool: &ToolName) -> Result<(), SourceError> {
        if quarantines(&self.path(tool)).is_ok_and(|all| !all.is_empty()) {
            return Ok(());
        }
        let failed = |why| SourceError::Write { tool: tool.clone(), reference: "packs".to_owned(), why };
        let settings = ["-c", "gc.auto=6700", "-c", "gc.autoPackLimit=50", "-c", "gc.autoDetach=false"];
        self.git(tool, &[&settings[..], &["gc", "--auto", "--quiet"]].concat())?.map_err(failed)
    }

    fn point_head(&self, tool: &ToolName, name: &str) -> Result<(), SourceError> {
        if !name.starts_with("refs/heads/") || self.reference(tool, "HEAD")?.is_some() {
            return Ok(());
        }
        let failed = |why| SourceError::Write { tool: tool.clone(), reference: "HEAD".to_owned(), why };
        self.git(tool, &["symbolic-ref", "HEAD", name])?.map_err(failed)
    }

    pub(crate) fn cuts(&self) -> MutexGuard<'_, HashMap<(ToolName, CommitId), usize>> {
        self.inner.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn uses(&self) -> MutexGuard<'_, HashMap<ToolName, usize>> {
        self.inner.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a repository for reading.
    pub(crate) fn git2(&self, tool: &ToolName) -> Result<git2::Repository, SourceError> {
        let path = self.converged(tool)?;
        git2::Repository::open_bare(path).map_err(|source| SourceError::Read { tool: tool.clone(), source })
    }

    /// Runs git in a repository; the inner error is what it printed.
    fn git(&self, tool: &ToolName, args: &[&str]) -> Result<Result<(), String>, SourceError> {
        run(self.git_command(tool)?.args(args))
    }

    /// A git that works in a repository.
    pub(crate) fn git_command(&self, tool: &ToolName) -> Result<Command, SourceError> {
        let path = self.converged(tool)?;
        let mut command = clean(&self.inner.options.git);
        command.env("GIT_DIR", path);
        Ok(command)
    }

    /// The repository's path, with its configuration as we want it.
    fn converged(&self, tool: &ToolName) -> Result<PathBuf, SourceError> {
        if !self.exists(tool) {
            return Err(SourceError::Absent(tool.clone()));
        }
        let path = self.path(tool);
        let config = path.join("config");
        converge(&config, &self.inner.config, 0o644)
            .map_err(|source| SourceError::Prepare { path: config, source })?;
        Ok(path)
    }
}

/// Runs a command to its end; the inner error is what it printed.
fn run(command: &mut Command) -> Result<Result<(), String>, SourceError> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output().map_err(SourceError::Git)?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Removes what a crash left half-made or half-removed.
fn sweep(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".new-") || name.starts_with(".old-") {
            fs::remove_dir_all(entry.path())?;
        } else if name.ends_with(".git") {
            sweep_quarantines(&entry.path())?;
            sweep_locks(&entry.path())?;
        }
    }
    Ok(())
}

/// What a git that was ended in the middle of a write has left locked: nothing could be written there any more.
fn sweep_locks(repository: &Path) -> std::io::Result<()> {
    for name in ["HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock"] {
        remove_if_there(&repository.join(name))?;
    }
    let mut left = vec![repository.join("refs")];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(".lock") {
                remove_if_there(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// No push is under way when the folder is opened, so that what is in quarantine is nobody's.
fn sweep_quarantines(repository: &Path) -> std::io::Result<()> {
    quarantines(repository)?.iter().try_for_each(fs::remove_dir_all)
}

/// Folders of pushes that are under way.
fn quarantines(repository: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(repository.join("objects"))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("tmp_objdir-incoming-") || name.starts_with("incoming-") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Makes renames in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// The model's name of an object.
pub(crate) fn commit_id(oid: git2::Oid) -> CommitId {
    oid.to_string().parse().expect("an object name is hexadecimal")
}

#[cfg(test)]
mod tests;
