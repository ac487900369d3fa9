//! One repository's copy here, and the objects and rows that it is a copy of.
//!
//! A repository that bears no mark is no copy: this server had it to itself, and it is the only one there is. It is taken in
//! among the objects and rows before anything here is made like them.

use super::{GRACE, failed, pack_keys};
use crate::faults;
use crate::upkeep::BUILD_REFS;
use hythe_model::{BuildId, CommitId, Fault, ToolName};
use hythe_objects::{Body, Objects};
use hythe_source::{Copied, Repositories, SourceError};
use hythe_store::{RepositoryState, Store};
use std::collections::BTreeMap;

/// The version of a copy that holds nothing yet: rows begin with 1.
const NOTHING: i64 = 0;
/// Builds that are looked for to tell whose a repository is.
const NAMED: usize = 100;

/// A tool's repository: its copy and its truth.
pub(super) struct Repository<'a> {
    pub(super) store: &'a Store,
    pub(super) objects: &'a dyn Objects,
    pub(super) repositories: &'a Repositories,
    pub(super) tool: &'a ToolName,
}

impl Repository<'_> {
    /// Makes the copy what the rows say. Nobody else may be at it.
    pub(super) async fn bring_up(&self) -> Result<(), Fault> {
        let Some(at) = self.store.repository_version(self.tool).await? else { return Ok(()) };
        self.take_in(at.id).await?;
        let Some(state) = self.store.repository(self.tool).await? else { return Ok(()) };
        let id = state.at.id;
        let known = self.blocking(move |repositories, tool| {
            // A tool of this name was removed, and made anew at another server.
            if repositories.copied(tool).is_some_and(|here| here.id != id) {
                repositories.delete(tool)?;
            }
            if !repositories.exists(tool) {
                repositories.create(tool)?;
                repositories.set_copied(tool, Copied { id, version: NOTHING })?;
            }
            repositories.packs(tool)
        });
        let known = known.await?;
        for pack in state.packs.difference(&known) {
            self.fetch_pack(id, pack).await?;
        }
        self.blocking(move |repositories, tool| {
            repositories.set_refs(tool, &state.refs, &state.head, &state.cuts)?;
            repositories.set_copied(tool, Copied { id, version: state.at.version })?;
            repositories.retire_packs(tool, &state.packs, GRACE)
        })
        .await
    }

    /// Takes a repository in that this server had to itself; one of an earlier tool of this name is put aside. Cut off anywhere it
    /// bears no mark still, and all of it is done again.
    async fn take_in(&self, id: i64) -> Result<(), Fault> {
        let refs = self.blocking(|repositories, tool| {
            let is_own = repositories.exists(tool) && repositories.copied(tool).is_none();
            if is_own { repositories.refs(tool) } else { Ok(BTreeMap::new()) }
        });
        let refs = refs.await?;
        if refs.is_empty() {
            return Ok(());
        }
        if !self.is_of_this_tool(&refs).await? {
            let place = self.blocking(Repositories::put_aside).await?.display().to_string();
            tracing::warn!(tool = %self.tool, place, "a repository of an earlier tool of this name is put aside");
            return Ok(());
        }
        let found = self.blocking(|repositories, tool| {
            repositories.repack(tool)?;
            Ok((repositories.packs(tool)?, repositories.cut_commits(tool)?, repositories.head(tool)?))
        });
        let (packs, cuts, head) = found.await?;
        for pack in &packs {
            self.put_pack(id, pack).await?;
        }
        let at = self.store.repository_version(self.tool).await?.filter(|at| at.id == id);
        let at = at.ok_or_else(|| faults::no_tool(self.tool))?;
        let own = RepositoryState { at, head, refs, packs, cuts: cuts.into_iter().collect() };
        self.store.take_in_repository(self.tool, own).await?;
        tracing::info!(tool = %self.tool, "the repository that this server had to itself is every server's now");
        Ok(())
    }

    /// Whether a repository is of this tool, and not of one that had its name before: it names a build of it.
    async fn is_of_this_tool(&self, refs: &BTreeMap<String, CommitId>) -> Result<bool, Fault> {
        let builds = refs.iter().filter_map(|(name, commit)| Some((build_of(name)?, commit)));
        let named: BTreeMap<BuildId, &CommitId> = builds.take(NAMED).collect();
        let rows = self.store.builds_by_id(named.keys().copied().collect()).await?;
        Ok(rows.iter().any(|row| {
            &row.tool == self.tool && named.get(&row.id).is_some_and(|commit| **commit == row.source.commit)
        }))
    }

    /// Puts the files of a pack where every server finds them.
    pub(super) async fn put_pack(&self, id: i64, pack: &str) -> Result<(), Fault> {
        let files = self.repositories.pack_files(self.tool, pack);
        for (key, path) in pack_keys(id, pack)?.into_iter().zip([files.pack, files.index]) {
            self.objects.put(&key, Body::File(path)).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// The index comes last: until it is there git does not see the pack.
    async fn fetch_pack(&self, id: i64, pack: &str) -> Result<(), Fault> {
        let files = self.repositories.pack_files(self.tool, pack);
        for (key, path) in pack_keys(id, pack)?.iter().zip([&files.pack, &files.index]) {
            hythe_objects::fetch(self.objects, key, path).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Repositories, &ToolName) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, Fault> {
        in_repository(self.repositories, self.tool, work).await
    }
}

/// The build that a ref keeps the commit of.
pub(crate) fn build_of(reference: &str) -> Option<BuildId> {
    reference.strip_prefix(BUILD_REFS)?.parse().ok().map(BuildId)
}

/// Does what blocks with a tool's repository here.
pub(crate) async fn in_repository<T: Send + 'static>(
    repositories: &Repositories,
    tool: &ToolName,
    work: impl FnOnce(&Repositories, &ToolName) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, Fault> {
    let (repositories, tool) = (repositories.clone(), tool.clone());
    let done = tokio::task::spawn_blocking(move || work(&repositories, &tool)).await;
    done.map_err(|error| faults::internal("work in the repository", &error))?.map_err(|error| error.fault())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use hythe_model::{Actor, BuildCause, Digest, Project, PushOptions, SourceTree};
    use hythe_objects::SharedFolder;
    use hythe_source::{HookCommand, RepositoryOptions, SourceLimits};
    use hythe_store::NewBuild;
    use std::fs;
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;

    /// A server's own folder of repositories.
    pub(crate) fn server(folder: &Path) -> Repositories {
        let hook = HookCommand { program: "/bin/false".into(), args: Vec::new() };
        let options = RepositoryOptions { git: "git".into(), hook, limits: SourceLimits::default() };
        Repositories::open(folder, options).unwrap()
    }

    fn git(repository: &Path, args: &[&str]) -> String {
        let mut git = Command::new("git");
        git.env("GIT_DIR", repository).env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.args(["-c", "user.name=Robin", "-c", "user.email=robin@example.org"]).args(args);
        let output = git.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn new_build(tool: &ToolName, commit: &CommitId) -> NewBuild {
        let source = SourceTree {
            commit: commit.clone(),
            subject: "Say something".to_owned(),
            digest: Digest::sha256([1; 32]),
            files: 1,
            bytes: 1,
            project: Project::default(),
        };
        NewBuild {
            tool: tool.clone(),
            source,
            reference: "refs/heads/main".to_owned(),
            old: None,
            options: PushOptions::default(),
            cause: BuildCause::Push,
            actor: Actor::Platform,
        }
    }

    /// A repository of one commit on `main`, which a build of the tool has built.
    async fn pushed(store: &Store, repositories: &Repositories, tool: &ToolName) -> CommitId {
        repositories.create(tool).unwrap();
        let path = repositories.path(tool);
        let tree = git(&path, &["hash-object", "-w", "-t", "tree", "/dev/null"]);
        let commit: CommitId = git(&path, &["commit-tree", &tree, "-m", "Say something"]).parse().unwrap();
        let build = store.enqueue_build(new_build(tool, &commit)).await.unwrap().id;
        for name in ["refs/heads/main", &format!("{BUILD_REFS}{build}")] {
            repositories.move_ref(tool, name, None, &commit).unwrap();
        }
        commit
    }

    #[tokio::test]
    async fn what_one_server_had_to_itself_is_taken_in_and_never_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            fs::create_dir_all(folder.path().join(name)).unwrap();
            folder.path().join(name)
        };
        let store = Store::open(&folder.path().join("rows.db")).await.unwrap();
        let objects = SharedFolder::open(place("objects")).unwrap();
        let (one, two) = (server(&place("one")), server(&place("two")));
        let tool: ToolName = "weather".parse().unwrap();
        let at = |repositories| Repository { store: &store, objects: &objects, repositories, tool: &tool };
        store.create_tool(&tool, None).await.unwrap();
        let commit = pushed(&store, &one, &tool).await;
        let refs = one.refs(&tool).unwrap();
        assert_eq!(refs.len(), 2);

        // Another server finds no row and makes an empty repository first.
        store.create_repository(&tool).await.unwrap();
        at(&two).bring_up().await.unwrap();
        at(&one).bring_up().await.unwrap();
        assert_eq!(one.refs(&tool).unwrap(), refs);
        assert!(one.copied(&tool).is_some(), "from now on it is a copy");
        at(&two).bring_up().await.unwrap();
        assert_eq!(two.refs(&tool).unwrap(), refs);
        git(&two.path(&tool), &["fsck", "--strict"]);
        assert_eq!(store.repository_ref(&tool, "refs/heads/main").await.unwrap(), Some(commit));

        // A copy that nobody needed is brought anew.
        assert!(two.drop_copy(&tool, Duration::ZERO).unwrap() && !two.exists(&tool));
        at(&two).bring_up().await.unwrap();
        assert_eq!(two.refs(&tool).unwrap(), refs);
        git(&two.path(&tool), &["fsck", "--strict"]);

        // Somebody else's tool of the same name gets nothing of it.
        store.delete_tool(&tool).await.unwrap();
        store.create_tool(&tool, None).await.unwrap();
        store.create_repository(&tool).await.unwrap();
        one.own(&tool).unwrap();
        at(&one).bring_up().await.unwrap();
        assert!(one.refs(&tool).unwrap().is_empty());
        assert!(store.repository(&tool).await.unwrap().unwrap().packs.is_empty());
        let mut names =
            fs::read_dir(folder.path().join("one")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.any(|name| name.to_string_lossy().starts_with("weather.aside-")), "and it is not lost");
    }
}
