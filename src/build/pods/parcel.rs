//! The build's own repository, `builds/<id>`: what goes to its pod and what comes back.

use super::{PodSettings, Pods};
use crate::analyze::Before;
use crate::cache::Place;
use crate::executor::{Stays, Task};
use crate::{Common, fault};
use hythe_carrier::{Access, Cached, Delivery, Job};
use hythe_cnb::protocol::MESSAGE_MAX;
use hythe_model::{BuildId, Digest, Fault};
use hythe_oci::{LayerDescriptor, Manifest};
use hythe_registry::{ContentStore, Reference, RegistryError, Repository, Tag};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use tokio::sync::broadcast::{self, error::RecvError};

/// What the repositories of builds begin with.
const BUILDS: &str = "builds/";
/// The largest delivery, bytes: an outcome, and a line for each of its trees.
const DELIVERY_MAX: u64 = 2 * MESSAGE_MAX as u64;

/// What the repository of a build is called, which its pod alone may open, and only while it runs.
pub fn name(build: BuildId) -> String {
    format!("{BUILDS}{build}")
}

/// A tag for what one attempt at a build delivers: one that was given up may still deliver.
pub(crate) fn new_tag() -> Result<Tag, Fault> {
    format!("delivery-{:016x}", rand::random::<u64>()).parse().map_err(fault::platform("name a delivery"))
}

/// The repository of a build.
pub(crate) fn repository(build: BuildId) -> Result<Repository, Fault> {
    name(build).parse().map_err(fault::platform("name a build's repository"))
}

/// Does what touches the disk on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await.map_err(fault::platform(what))?;
    done.map_err(fault::registry)
}

impl Pods {
    /// Puts source, cached layers and the job into the build's repository, and answers the way there.
    pub(crate) async fn put_in(&self, task: Task<'_>, before: &Before) -> Result<Access, Fault> {
        let (common, build) = (task.common, task.request);
        let cached = before.index.slices.iter().filter_map(|slice| match &slice.place {
            Place::Blob(written) => Some(Cached {
                buildpack: slice.buildpack.clone(),
                layer: slice.layer.clone(),
                written: written.clone(),
            }),
            Place::Folder(_) => None,
        });
        let mut request = common.lifecycle_request(build, before);
        request.platform_env = BTreeMap::new();
        let job = Job {
            source: build.source.digest.clone(),
            cached: cached.collect(),
            request,
            user: common.base.build_user,
            bounds: common.parts.limits.layer(),
        };
        let bytes = serde_json::to_vec(&job).map_err(fault::platform("write a build's job"))?;
        let repository = repository(build.id)?;
        let (content, place, archive) =
            (common.parts.content.clone(), repository.clone(), build.archive.clone());
        let job = blocking("fill a build's repository", move || {
            put_file(&content, &place, &archive, &job.source)?;
            for cached in &job.cached {
                content.link(&place, &cached.written.blob.digest)?;
            }
            content.put_blob(&place, &bytes)
        })
        .await?;
        let (user, password) = (self.access)(build.id);
        let PodSettings { registry, plain, authorities, .. } = &self.settings;
        Ok(Access {
            registry: registry.clone(),
            plain: *plain,
            authorities: authorities.clone(),
            repository: repository.as_str().to_owned(),
            user,
            password,
            job,
        })
    }
}

fn put_file(
    content: &ContentStore,
    repository: &Repository,
    path: &Path,
    digest: &Digest,
) -> Result<(), RegistryError> {
    match content.link(repository, digest) {
        Err(RegistryError::NoBlob(_)) => {}
        linked => return linked,
    }
    let upload = content.begin()?;
    let failed = |source| RegistryError::Io { operation: "copy", path: path.to_owned(), source };
    File::open(path).and_then(|mut from| io::copy(&mut from, &mut upload.file())).map_err(failed)?;
    upload.commit_checked(repository, digest).map(drop)
}

/// Waits until the pod has delivered, where this process hears of it: another one may serve the registry that the pod speaks to.
pub(crate) async fn delivered(
    mut tagged: broadcast::Receiver<(Repository, Tag)>,
    build: BuildId,
    delivery: &Tag,
) {
    loop {
        match tagged.recv().await {
            Ok((repository, tag)) if tag == *delivery && repository.as_str() == name(build) => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// What the pod has delivered.
pub(crate) async fn delivery(common: &Common, build: BuildId, tag: Tag) -> Result<Delivery, Fault> {
    let (content, repository) = (common.parts.content.clone(), repository(build)?);
    let bytes = blocking("read a delivery", move || {
        let Some(stored) = content.manifest(&repository, &Reference::Tag(tag))? else { return Ok(None) };
        let Some(blob) =
            Manifest::parse(&stored.bytes).ok().and_then(|manifest| manifest.layers.into_iter().next())
        else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let file = content.open_blob(&blob.digest)?;
        let failed =
            |source| RegistryError::Io { operation: "read", path: blob.digest.as_str().into(), source };
        file.take(DELIVERY_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    });
    let bytes = bytes.await?.ok_or_else(|| fault::platform("find a delivery")("the pod has left none"))?;
    if bytes.len() as u64 > DELIVERY_MAX {
        return Err(fault::result_too_large());
    }
    serde_json::from_slice(&bytes).map_err(fault::platform("read a delivery"))
}

/// Takes a layer out of the build's repository into another.
pub(crate) async fn take_out(task: Task<'_>, to: &Repository, layer: &LayerDescriptor) -> Result<(), Fault> {
    let (content, from, to, blob) =
        (task.common.parts.content.clone(), repository(task.request.id)?, to.clone(), layer.blob.clone());
    let taken = blocking("take a layer", move || {
        // What is not the build's own it could not have had.
        if !content.linked(&from, &blob.digest)? || content.size(&blob.digest)? != Some(blob.size) {
            return Ok(false);
        }
        content.link(&to, &blob.digest)?;
        Ok(true)
    });
    if taken.await? { Ok(()) } else { Err(fault::platform("take a layer")("it is not what was delivered")) }
}

/// Removes a build's repository. A failure is noted: the next start sweeps.
pub(crate) async fn remove(common: &Common, build: BuildId) {
    let content = common.parts.content.clone();
    let Ok(repository) = repository(build) else { return };
    let removed = blocking("remove a build's repository", move || content.delete_repository(&repository));
    if let Err(fault) = removed.await {
        tracing::warn!(%build, %fault, "a build's repository could not be removed");
    }
}

/// Removes the repositories of all builds but those that stay.
pub(crate) async fn sweep(common: &Common, stays: Stays) -> Result<(), Fault> {
    let content = common.parts.content.clone();
    blocking("sweep builds' repositories", move || {
        for repository in content.repositories()? {
            let number = repository.as_str().strip_prefix(BUILDS).map(str::parse);
            if let Some(number) = number
                && !number.is_ok_and(|number| stays(BuildId(number)))
            {
                content.delete_repository(&repository)?;
            }
        }
        Ok(())
    })
    .await
}
