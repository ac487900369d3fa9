//! Removes what nobody needs any more: images (in an external registry too), their unpacked layers, sources, commits and logs of
//! old builds.
//!
//! What is kept follows from the store alone: live releases, the newest ones of each tool, and builds that have not
//! ended. Whatever is younger than the graces of the rooms below stays too, so that nothing is taken from a push that is
//! under way. Every step may be cut off and is done again the next time.

use crate::copies::build_of;
use crate::images::Kept;
use crate::{Platform, faults};
use hythe_model::{BuildId, CommitId, Digest, Fault, ToolName};
use hythe_registry::{ContentStore, GcPolicy, GcReport, Reference, RegistryError, Repository};
use hythe_rollout::ImageName;
use hythe_store::{Build, RetainedRelease};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// After a start tools come first.
const FIRST: Duration = Duration::from_mins(1);
/// A source that is older belongs to no push that is being read.
const SOURCE_GRACE: Duration = Duration::from_hours(1);
/// Where commits of builds are kept by name.
pub(crate) const BUILD_REFS: &str = "refs/hythe/builds/";

/// How much is kept.
#[derive(Debug, Clone)]
pub struct Keep {
    /// Time between two rounds.
    pub every: Duration,
    /// Releases of a tool whose images are kept, beside the live one.
    pub releases: u32,
    /// Bytes of the images of one tool; beyond it the oldest go, however few there are.
    pub image_bytes: u64,
    /// Builds of a tool whose logs are kept.
    pub builds: u32,
    /// How long a blob stays that nothing names.
    pub blob_grace: Duration,
    /// A file that is locked during a round; whoever locks it, as a backup does, holds the next one off.
    pub lock: PathBuf,
}

/// What a round removed.
#[derive(Debug, Default)]
struct Removed {
    sources: usize,
    commits: usize,
    logs: usize,
    layers: usize,
    external: usize,
    content: GcReport,
}

/// What must stay of every tool's commits and images.
struct Wanted {
    last: Option<BuildId>,
    images: BTreeSet<ImageName>,
    of_tools: Kept,
    commits: HashMap<ToolName, HashSet<CommitId>>,
    sources: HashSet<Digest>,
}

impl Platform {
    /// Brings what is live to a registry that misses it, and then cleans up again and again, until `shutdown`.
    pub async fn run_upkeep(&self, shutdown: CancellationToken) {
        // What runs needs no image to run on, and what is to start anywhere waits for one.
        shutdown.run_until_cancelled(self.provide_live_images()).await;
        let every = self.parts().settings.keep.every;
        let mut wait = FIRST.min(every);
        let mut since = None;
        while shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            wait = every;
            let Some(_alone) = self.alone() else { continue };
            let begun = Timestamp::now();
            match self.clean_up(since).await {
                Ok(removed) => {
                    since = Some(begun);
                    let Removed { sources, commits, logs, layers, external, content } = removed;
                    let GcReport { blobs, bytes } = content;
                    tracing::info!(sources, commits, logs, layers, external, blobs, bytes, "cleaned up");
                }
                Err(fault) => tracing::error!(%fault, "could not clean up; the next round tries again"),
            }
        }
    }

    /// The right to remove, unless somebody copies.
    fn alone(&self) -> Option<File> {
        let lock = &self.parts().settings.keep.lock;
        let file = File::options().create(true).truncate(false).write(true).open(lock);
        let taken = file.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
        taken.inspect_err(|why| tracing::info!(%why, "not cleaned up this time")).ok()
    }

    /// One round; repositories are repacked where builds ended after `since`.
    async fn clean_up(&self, since: Option<Timestamp>) -> Result<Removed, Fault> {
        let wanted = self.wanted().await?;
        let parts = self.parts();
        let mut removed = Removed { logs: self.remove_logs(wanted.last).await?, ..Removed::default() };

        removed.sources = self.prune_objects(&wanted.sources).await?;
        let (sources, keep) = (parts.sources.clone(), wanted.sources);
        removed.sources += blocking(move || sources.prune(&keep, SOURCE_GRACE)).await?;
        removed.commits = self.tidy_repositories(wanted.last, wanted.commits, since).await?;

        removed.external = Box::pin(self.tend_external(&wanted.of_tools)).await?;
        let images: Vec<ImageName> = wanted.images.into_iter().collect();
        removed.layers = parts.runtime.prune(&images).await?;
        let policy = GcPolicy {
            keep: images.into_iter().map(|image| image.digest).chain(parts.builder.keeps()).collect(),
            // A tag is somebody's wish; the platform's own releases have none.
            keep_tagged: true,
            grace: parts.settings.keep.blob_grace,
        };
        let content = parts.content.clone();
        removed.content = blocking(move || content.gc(&policy)).await?;
        Ok(removed)
    }

    async fn wanted(&self) -> Result<Wanted, Fault> {
        let parts = self.parts();
        let mut wanted = Wanted {
            // First: what comes after it is in none of the lists below, and stays.
            last: self.store().last_build().await?,
            images: parts.runtime.images().await?.into_iter().collect(),
            of_tools: Kept::new(),
            commits: HashMap::new(),
            sources: HashSet::new(),
        };
        let releases = self.store().retained_releases(parts.settings.keep.releases).await?;
        let (content, room) = (parts.content.clone(), parts.settings.keep.image_bytes);
        let releases = blocking(move || small_enough(&content, &releases, room)).await?;
        for RetainedRelease { tool, image, commit, .. } in releases {
            wanted.images.insert(ImageName { repository: format!("tools/{tool}"), digest: image.clone() });
            wanted.of_tools.entry(tool.clone()).or_default().insert(image);
            wanted.commits.entry(tool).or_default().insert(commit);
        }
        for build in self.store().unfinished_builds().await? {
            wanted.sources.insert(build.source.digest);
            wanted.commits.entry(build.tool).or_default().insert(build.source.commit);
        }
        Ok(wanted)
    }

    async fn remove_logs(&self, last: Option<BuildId>) -> Result<usize, Fault> {
        let keep = self.store().newest_builds(self.parts().settings.keep.builds).await?;
        let stays = move |build| Some(build) > last || keep.contains(&build);
        let removed = self.logs().prune_builds(stays).await;
        let builds = removed.map_err(|error| faults::internal("remove logs of builds", &error))?;
        let removed = self.logs().prune_tools().await;
        Ok(builds + removed.map_err(|error| faults::internal("tidy logs of tools", &error))?)
    }

    /// Drops the names of commits that no release needs, and repacks where there was work.
    async fn tidy_repositories(
        &self,
        last: Option<BuildId>,
        mut wanted: HashMap<ToolName, HashSet<CommitId>>,
        since: Option<Timestamp>,
    ) -> Result<usize, Fault> {
        let mut removed = 0;
        for tool in self.store().tools().await? {
            let newest = self.store().builds(&tool.name, 1).await?.into_iter().next();
            let keep = wanted.remove(&tool.name).unwrap_or_default();
            let is_old =
                |build: Build| build.ended_at.is_some_and(|end| since.is_some_and(|since| end <= since));
            if newest.is_none_or(is_old) {
                continue;
            }
            let (repositories, name) = (self.parts().repositories.clone(), tool.name.clone());
            let stays = move |reference: &str, commit: &CommitId| {
                keep.contains(commit) || build_of(reference).is_none_or(|build| Some(build) > last)
            };
            let tidied = if self.parts().objects.is_some() {
                self.tidy_shared_repository(&name, stays).await
            } else {
                let work = move || {
                    let count = repositories.prune_refs(&name, BUILD_REFS, stays)?;
                    repositories.maintain(&name).map(|()| count)
                };
                blocking(work).await
            };
            match tidied {
                Ok(count) => removed += count,
                Err(fault) => tracing::warn!(tool = %tool.name, %fault, "a repository could not be tidied"),
            }
        }
        Ok(removed)
    }
}

/// The releases of each tool, newest first, whose images fit in so many bytes together; what runs stays, and the newest.
pub(crate) fn small_enough(
    content: &ContentStore,
    releases: &[RetainedRelease],
    room: u64,
) -> Result<Vec<RetainedRelease>, RegistryError> {
    let mut stay = Vec::with_capacity(releases.len());
    for of_tool in releases.chunk_by(|one, next| one.tool == next.tool) {
        let repository = Repository::of_tool(&of_tool[0].tool);
        if content.linked_bytes(&repository, &HashSet::new())? <= room {
            stay.extend_from_slice(of_tool);
            continue;
        }
        let (mut counted, mut bytes) = (HashSet::new(), 0);
        for (place, release) in of_tool.iter().enumerate() {
            let image = content.image(&repository, &Reference::Digest(release.image.clone()));
            let image = image.unwrap_or_else(|error| {
                tracing::warn!(tool = %release.tool, image = %release.image, %error, "an image cannot be read");
                None
            });
            for layer in image.into_iter().flat_map(|image| image.manifest.layers) {
                if counted.insert(layer.digest) {
                    bytes += layer.size;
                }
            }
            if place == 0 || release.runs || bytes <= room {
                stay.push(release.clone());
            }
        }
    }
    Ok(stay)
}

pub(crate) async fn blocking<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| faults::internal("clean up", &error))?
        .map_err(|error| faults::internal("clean up", &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An image of a layer that the store has, and one more of so many bytes.
    fn image(content: &ContentStore, common: &[u8], byte: u8, bytes: usize) -> Digest {
        let repository: Repository = "tools/weather".parse().unwrap();
        let layer = |bytes: &[u8]| {
            let digest = content.put_blob(&repository, bytes).unwrap();
            json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": bytes.len() })
        };
        let layers = [layer(common), layer(&vec![byte; bytes])];
        let diff_ids = [layers[0]["digest"].clone(), layers[1]["digest"].clone()];
        let config = json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let config = config.to_string();
        let digest = content.put_blob(&repository, config.as_bytes()).unwrap();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len() },
        });
        let manifest = manifest.to_string();
        let digest = hythe_oci::Hasher::digest(manifest.as_bytes());
        let reference = Reference::Digest(digest.clone());
        content
            .put_manifest(
                &repository,
                &reference,
                "application/vnd.oci.image.manifest.v1+json",
                manifest.as_bytes(),
            )
            .unwrap();
        digest
    }

    #[test]
    fn the_oldest_images_go_where_all_are_too_many_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let content = ContentStore::open(folder.path()).unwrap();
        let common = vec![7; 10_000];
        let release = |byte, runs| RetainedRelease {
            tool: "weather".parse().unwrap(),
            image: image(&content, &common, byte, 4_000),
            commit: "4f2a91c".repeat(6)[..40].parse().unwrap(),
            runs,
        };
        let all = [release(4, false), release(3, false), release(2, true), release(1, false)];
        let kept = |room| {
            let stay = small_enough(&content, &all, room).unwrap();
            all.iter().map(|release| u8::from(stay.contains(release))).collect::<Vec<_>>()
        };
        assert_eq!(kept(100_000), [1, 1, 1, 1]);
        assert_eq!(kept(22_000), [1, 1, 1, 0], "the layer that all have counts once");
        assert_eq!(kept(18_000), [1, 1, 1, 0], "what runs stays");
        assert_eq!(kept(1_000), [1, 0, 1, 0]);
    }
}
