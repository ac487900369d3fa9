//! Sources and repositories where several servers share them: objects and rows are the truth, what lies here is a copy.
//!
//! A pack is an object before a row names it, and a row names it before a build's row does; so whatever a server has acknowledged
//! any other one can bring up. Nothing here takes a lease: a copy is this server's own, packs never change, and refs move by
//! compare-and-swap in the store.

mod repository;

#[cfg(test)]
pub(crate) use repository::tests::new_build;
pub(crate) use repository::{build_of, in_repository};

use crate::upkeep::blocking;
use crate::{Platform, faults};
use hythe_model::{CommitId, Digest, Fault, SourceTree, ToolName};
use hythe_objects::{Body, Key, Listed, Objects, ObjectsError};
use hythe_source::{Copied, CopyUse, Repositories};
use hythe_store::{RepositoryVersion, Store};
use repository::Repository;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the names of sources begin with.
const SOURCES: &str = "sources";
/// What the names of packs begin with; the tool's number follows.
const REPOSITORIES: &str = "repositories";
/// What the names of marks begin with; the name of an object that nothing names follows.
const UNNAMED: &str = "unnamed";
/// How long a copy stays that no row names, or that nobody needs any more: a push may be about to name it, or it be brought up or read.
const GRACE: Duration = Duration::from_hours(1);
/// How long a copy of a repository stays that nobody uses.
const UNUSED: Duration = Duration::from_hours(24);
/// Bytes of all copies of repositories beyond which those go that were used longest ago. `deploy/kubernetes/replicas` has room for twice
/// that.
const ROOM: u64 = 8 << 30;
/// How long an object stays that no row names any more: a copy of the rows may still name it, and whoever made that copies the objects
/// next.
const KEPT: Duration = Duration::from_hours(24);
/// Packs of a repository beyond which they are made one.
const PACKS: usize = 50;

/// One at a time brings a tool's copy up to date, or removes it.
#[derive(Default)]
pub(crate) struct Copying(Mutex<HashMap<ToolName, Arc<tokio::sync::Mutex<()>>>>);

impl Copying {
    async fn alone(&self, tool: &ToolName) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, lock| Arc::strong_count(lock) > 1);
            all.entry(tool.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

fn key(text: &str) -> Result<Key, Fault> {
    text.parse().map_err(|error| faults::internal("name an object", &error))
}

fn source_key(digest: &Digest) -> Result<Key, Fault> {
    key(&format!("{SOURCES}/{}.tar", digest.hex()))
}

/// What a pack's objects are called: the pack, and its index.
fn pack_keys(id: i64, pack: &str) -> Result<[Key; 2], Fault> {
    let name = |end| key(&format!("{REPOSITORIES}/{id}/{pack}.{end}"));
    Ok([name("pack")?, name("idx")?])
}

fn failed(error: &ObjectsError) -> Fault {
    faults::internal("reach the shared objects", error)
}

impl Platform {
    fn objects(&self) -> Option<&Arc<dyn Objects>> {
        self.parts().objects.as_ref()
    }

    /// Puts a source where every server finds it.
    pub(crate) async fn share_source(&self, source: &SourceTree) -> Result<(), Fault> {
        let Some(objects) = self.objects() else { return Ok(()) };
        let body = Body::File(self.parts().sources.path(&source.digest));
        objects.put(&source_key(&source.digest)?, body).await.map_err(|error| failed(&error))
    }

    /// Brings a source here that another server has read.
    pub(crate) async fn fetch_source(&self, source: &SourceTree) -> Result<(), Fault> {
        let Some(objects) = self.objects() else { return Ok(()) };
        let sources = &self.parts().sources;
        if sources.has(&source.digest) {
            return Ok(());
        }
        let path = sources.path(&source.digest);
        let fetched = hythe_objects::fetch(&**objects, &source_key(&source.digest)?, &path).await;
        fetched.map_err(|error| failed(&error))
    }

    /// Brings the copy of a tool's repository up to date, where it is one.
    pub async fn prepare_repository(&self, tool: &ToolName) -> Result<(), Fault> {
        let Some(objects) = self.objects() else { return Ok(()) };
        let Some(at) = self.store().repository_version(tool).await? else { return Ok(()) };
        // Before it is looked for: what is here then stays.
        self.parts().repositories.note_use(tool);
        if self.is_current(tool, at) {
            return Ok(());
        }
        let _alone = self.inner.copying.alone(tool).await;
        if self.is_current(tool, at) {
            return Ok(());
        }
        self.repository(&**objects, tool).bring_up().await
    }

    fn repository<'a>(&'a self, objects: &'a dyn Objects, tool: &'a ToolName) -> Repository<'a> {
        Repository { store: self.store(), objects, repositories: &self.parts().repositories, tool }
    }

    /// Makes the repositories that this server had to itself every server's. One tool's trouble is not another's.
    pub(crate) async fn share_repositories(&self) -> Result<(), Fault> {
        let repositories = &self.parts().repositories;
        let all = repositories.list().map_err(|error| error.fault())?;
        for tool in all.into_iter().filter(|tool| repositories.copied(tool).is_none()) {
            if self.store().tool(&tool).await?.is_some()
                && let Err(fault) = self.make_repository(&tool).await
            {
                tracing::error!(%tool, %fault, "the repository is not every server's yet");
            }
        }
        Ok(())
    }

    fn is_current(&self, tool: &ToolName, at: RepositoryVersion) -> bool {
        let copied = Copied { id: at.id, version: at.version };
        self.parts().repositories.copied(tool) == Some(copied) && self.parts().repositories.exists(tool)
    }

    /// Puts what pushes have added to this server's copy where every server finds it.
    pub(crate) async fn share_packs(&self, tool: &ToolName) -> Result<(), Fault> {
        if self.objects().is_none() {
            return Ok(());
        }
        let Some(state) = self.store().repository(tool).await? else { return Err(faults::no_tool(tool)) };
        let found = self.in_repository(tool, |repositories, tool| {
            Ok((repositories.packs(tool)?, repositories.cut_commits(tool)?))
        });
        let (packs, mut cuts) = found.await?;
        let packs: Vec<String> = packs.difference(&state.packs).cloned().collect();
        cuts.retain(|cut| !state.cuts.contains(cut));
        if packs.is_empty() && cuts.is_empty() {
            return Ok(());
        }
        self.put_packs(tool, state.at.id, &packs).await?;
        Ok(self.store().add_packs(tool, packs, cuts).await?)
    }

    async fn put_packs(&self, tool: &ToolName, id: i64, packs: &[String]) -> Result<(), Fault> {
        let Some(objects) = self.objects() else { return Ok(()) };
        for pack in packs {
            self.repository(&**objects, tool).put_pack(id, pack).await?;
        }
        Ok(())
    }

    /// Makes one pack of many, and forgets the names of builds' commits that nothing needs; how many names went. One server does it
    /// at a time; what others push meanwhile stays beside it.
    pub(crate) async fn tidy_shared_repository(
        &self,
        tool: &ToolName,
        stays: impl Fn(&str, &CommitId) -> bool,
    ) -> Result<usize, Fault> {
        let Some(state) = self.store().repository(tool).await? else { return Ok(0) };
        let goes = |(name, commit): &(&String, &CommitId)| !stays(name, commit);
        let unneeded: Vec<String> = state.refs.iter().filter(goes).map(|(name, _)| name.clone()).collect();
        let count = unneeded.len();
        if count > 0 {
            self.store().remove_refs(tool, unneeded).await?;
        }
        if state.packs.len() > PACKS {
            self.prepare_repository(tool).await?;
            let packed = self.in_repository(tool, |repositories, tool| {
                repositories.repack(tool)?;
                repositories.packs(tool)
            });
            let packed: Vec<String> = packed.await?.into_iter().collect();
            self.put_packs(tool, state.at.id, &packed).await?;
            let old = state.packs.iter().filter(|pack| !packed.contains(pack)).cloned().collect();
            self.store().replace_packs(tool, old, packed).await?;
        }
        Ok(count)
    }

    /// Removes copies again and again that nobody uses: whoever needs one brings it here anew.
    pub(crate) async fn tidy_copies(self) {
        loop {
            tokio::time::sleep(self.parts().settings.keep.every).await;
            let sources = self.parts().sources.clone();
            let pruned = tokio::task::spawn_blocking(move || sources.prune(&HashSet::new(), GRACE)).await;
            if let Ok(Err(error)) = pruned {
                tracing::warn!(%error, "copies of sources could not be removed");
            }
            match drop_copies(&self.parts().repositories, &self.inner.copying, ROOM).await {
                Ok(0) => {}
                Ok(dropped) => tracing::info!(dropped, "unused copies of repositories were removed"),
                Err(fault) => tracing::warn!(%fault, "copies of repositories could not be removed"),
            }
        }
    }

    /// Removes sources and packs that no row names any more; how many sources went.
    pub(crate) async fn prune_objects(&self, keep: &HashSet<Digest>) -> Result<usize, Fault> {
        let Some(objects) = self.objects() else { return Ok(0) };
        let named: BTreeSet<Key> = keep.iter().map(source_key).collect::<Result<_, _>>()?;
        let sources = prune(&**objects, &key(SOURCES)?, &named).await?;
        prune_packs(self.store(), &**objects).await?;
        Ok(sources)
    }
}

/// Removes the copies of repositories that nobody needs here; how many went. None goes while it is brought up or used, or was a while ago.
async fn drop_copies(repositories: &Repositories, copying: &Copying, room: u64) -> Result<usize, Fault> {
    let here = repositories.clone();
    let copies = blocking(move || here.copies()).await?;
    let mut dropped = 0;
    for tool in unneeded(copies, room) {
        let _alone = copying.alone(&tool).await;
        // Somebody may have used it since.
        let gone = in_repository(repositories, &tool, |here, tool| here.drop_copy(tool, GRACE)).await;
        match gone {
            Ok(gone) => dropped += usize::from(gone),
            Err(fault) => tracing::warn!(%tool, %fault, "a repository's copy could not be removed"),
        }
    }
    Ok(dropped)
}

/// The copies that nobody needs: those that nobody has used for long, and where all together are too many bytes others too, what was
/// used longest ago first.
fn unneeded(mut copies: Vec<CopyUse>, room: u64) -> Vec<ToolName> {
    copies.sort_by_key(|copy| Reverse(copy.idle));
    let mut bytes: u64 = copies.iter().map(|copy| copy.bytes).sum();
    let goes = move |copy: &CopyUse| {
        let goes = copy.idle >= UNUSED || (copy.idle >= GRACE && bytes > room);
        bytes -= copy.bytes;
        goes
    };
    copies.into_iter().take_while(goes).map(|copy| copy.tool).collect()
}

/// Removes packs that no row names any more. Where it cannot be known which are named, none goes.
async fn prune_packs(store: &Store, objects: &dyn Objects) -> Result<usize, Fault> {
    let mut named = BTreeSet::new();
    for (id, pack) in store.all_packs().await? {
        named.extend(pack_keys(id, &pack)?);
    }
    prune(objects, &key(REPOSITORIES)?, &named).await
}

/// Removes the objects below a prefix that nothing has named for a while; how many went. Since when that is so a mark says, itself an
/// object, so that whoever cleans up next knows it too.
async fn prune(objects: &dyn Objects, prefix: &Key, named: &BTreeSet<Key>) -> Result<usize, Fault> {
    let (mut removed, mut marks) = (0, BTreeSet::new());
    for object in objects.list(prefix).await.map_err(|error| failed(&error))? {
        if named.contains(&object.key) {
            continue;
        }
        let mark = key(&format!("{UNNAMED}/{}", object.key))?;
        if goes(objects, &object, &mark).await? {
            objects.delete(&object.key).await.map_err(|error| failed(&error))?;
            removed += 1;
        } else {
            marks.insert(mark);
        }
    }
    // What is named again, or gone, has none.
    for mark in objects.list(&key(&format!("{UNNAMED}/{prefix}"))?).await.map_err(|error| failed(&error))? {
        if !marks.contains(&mark.key) {
            objects.delete(&mark.key).await.map_err(|error| failed(&error))?;
        }
    }
    Ok(removed)
}

/// Whether an object goes that nothing names; where it bears no mark yet it gets one.
async fn goes(objects: &dyn Objects, object: &Listed, mark: &Key) -> Result<bool, Fault> {
    // Whoever has put it again since is about to name it.
    let since = objects.age(mark).await.map_err(|error| failed(&error))?;
    let Some(since) = since.filter(|since| *since <= object.age) else {
        objects.put(mark, Body::Bytes(Vec::new())).await.map_err(|error| failed(&error))?;
        return Ok(false);
    };
    // Somebody may do that at the last moment.
    let age = objects.age(&object.key).await.map_err(|error| failed(&error))?;
    Ok(since >= KEPT && age.is_some_and(|age| age >= since))
}

#[cfg(test)]
mod tests {
    use super::repository::tests::server;
    use super::*;
    use hythe_objects::SharedFolder;
    use hythe_store::Database;
    use hythe_testing::Postgres;
    use std::fs::File;
    use std::path::Path;
    use std::time::SystemTime;

    /// Makes an object one that was put a while ago.
    fn age(folder: &Path, name: &str, time: Duration) {
        let file = File::options().write(true).open(folder.join(name)).unwrap();
        file.set_modified(SystemTime::now() - time).unwrap();
    }

    #[test]
    fn copies_go_that_nobody_uses_and_beyond_the_room_those_used_longest_ago() {
        let copy = |tool: &str, hours, bytes| CopyUse {
            tool: tool.parse().unwrap(),
            idle: Duration::from_hours(hours),
            bytes,
        };
        let all = || vec![copy("new", 0, 50), copy("day", 24, 10), copy("hours", 5, 20), copy("hour", 1, 30)];
        let go = |room| unneeded(all(), room).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(go(1000), ["day"]);
        assert_eq!(go(100), ["day"], "what is left has room");
        assert_eq!(go(99), ["day", "hours"]);
        assert_eq!(go(0), ["day", "hours", "hour"], "somebody may be reading what was used just now");
    }

    #[tokio::test]
    async fn a_copy_stays_as_long_as_git_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let (repositories, copying) = (server(folder.path()), Copying::default());
        let tools = ["weather", "quotes", "own"];
        let [weather, quotes, own]: [ToolName; 3] = tools.map(|tool| tool.parse().unwrap());
        for tool in [&weather, &quotes, &own] {
            repositories.create(tool).unwrap();
        }
        let was_used = |tool: &ToolName| age(folder.path(), &format!("{tool}.git/hythe-copied"), 2 * UNUSED);
        for tool in [&weather, &quotes] {
            repositories.set_copied(tool, Copied { id: 1, version: 1 }).unwrap();
            was_used(tool);
        }
        let push = repositories.enter(&weather);
        assert_eq!(drop_copies(&repositories, &copying, ROOM).await.unwrap(), 1);
        assert_eq!(repositories.list().unwrap(), [own.clone(), weather.clone()]);
        drop(push);
        assert_eq!(drop_copies(&repositories, &copying, 0).await.unwrap(), 0, "it has just ended");
        was_used(&weather);
        assert_eq!(drop_copies(&repositories, &copying, ROOM).await.unwrap(), 1);
        assert_eq!(repositories.list().unwrap(), [own], "what is no copy is the only one there is");
    }

    async fn names(objects: &SharedFolder, prefix: &str) -> Vec<String> {
        let listed = objects.list(&key(prefix).unwrap()).await.unwrap();
        listed.into_iter().map(|object| object.key.to_string()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_the_rows_cannot_be_read_no_pack_goes() {
        let folder = tempfile::tempdir().unwrap();
        let objects = SharedFolder::open(folder.path()).unwrap();
        let rows = Postgres::shared();
        let url = rows.database();
        let store = Store::open(Database::postgres(url.clone())).await.unwrap();
        let weather: ToolName = "weather".parse().unwrap();
        store.create_tool(&weather, None).await.unwrap();
        store.create_repository(&weather).await.unwrap();
        store.add_packs(&weather, vec!["pack-a".to_owned()], Vec::new()).await.unwrap();
        let id = store.repository_version(&weather).await.unwrap().unwrap().id;
        let (named, stray) = (format!("repositories/{id}/pack-a"), format!("repositories/{id}/pack-b"));
        for name in [format!("{named}.pack"), format!("{named}.idx"), format!("{stray}.pack")] {
            objects.put(&key(&name).unwrap(), Body::Bytes(b"it".to_vec())).await.unwrap();
            age(folder.path(), &name, 3 * KEPT);
        }
        assert_eq!(prune_packs(&store, &objects).await.unwrap(), 0, "first it is marked");
        age(folder.path(), &format!("unnamed/{stray}.pack"), 2 * KEPT);

        rows.sql(&url, "ALTER TABLE repository_packs RENAME TO away");
        assert!(prune_packs(&store, &objects).await.is_err());
        rows.sql(&url, "ALTER TABLE away RENAME TO repository_packs");
        assert_eq!(prune_packs(&store, &objects).await.unwrap(), 1, "the one that no row names");
        assert_eq!(names(&objects, REPOSITORIES).await, [format!("{named}.idx"), format!("{named}.pack")]);
    }

    #[tokio::test]
    async fn what_was_named_a_while_ago_stays_for_whoever_copies() {
        let folder = tempfile::tempdir().unwrap();
        let objects = SharedFolder::open(folder.path()).unwrap();
        let (sources, source) = (key(SOURCES).unwrap(), key("sources/a.tar").unwrap());
        let (none, it) = (BTreeSet::new(), BTreeSet::from([source.clone()]));
        let put = async || objects.put(&source, Body::Bytes(b"it".to_vec())).await.unwrap();
        let prune = async |named| prune(&objects, &sources, named).await.unwrap();
        put().await;
        age(folder.path(), "sources/a.tar", 10 * KEPT);
        assert_eq!(prune(&none).await, 0, "old as it is: it may have been named a moment ago");
        let mark = "unnamed/sources/a.tar";
        assert_eq!(names(&objects, UNNAMED).await, [mark]);
        age(folder.path(), mark, KEPT / 2);
        assert_eq!(prune(&none).await, 0);
        assert_eq!(prune(&it).await, 0);
        assert!(names(&objects, UNNAMED).await.is_empty(), "it is named again");

        // Put again after it was marked: whoever did is about to name it.
        prune(&none).await;
        age(folder.path(), mark, 2 * KEPT);
        put().await;
        assert_eq!(prune(&none).await, 0);
        age(folder.path(), "sources/a.tar", KEPT / 2);
        assert_eq!(prune(&none).await, 0, "the mark is a new one");
        age(folder.path(), "sources/a.tar", 3 * KEPT);
        age(folder.path(), mark, 2 * KEPT);
        assert_eq!(prune(&none).await, 1);
        prune(&none).await;
        assert!(names(&objects, UNNAMED).await.is_empty() && names(&objects, SOURCES).await.is_empty());
    }
}
