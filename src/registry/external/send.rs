//! An image on its way to the registry.

use super::{Cause, External, ExternalError, Inner};
use crate::client::{Begun, Session, scope};
use crate::{Reference, RegistryError, Repository, StoredManifest};
use backon::{ExponentialBuilder, Retryable};
use futures::{StreamExt, TryStreamExt};
use hythe_model::{Digest, ToolName};
use hythe_oci::{Descriptor, Manifest};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::time::{Duration, Instant};

/// Blobs of one image that are sent at a time.
const BLOBS_AT_ONCE: usize = 3;
/// Repositories that one image's blobs are mounted from: each is one more right to ask for.
const SOURCES: usize = 4;

/// What had to be done so that an image is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provided {
    /// Nothing.
    There,
    /// It was sent.
    Sent {
        /// Layers of it.
        layers: usize,
        /// Layers that were sent: the registry had the others.
        sent: usize,
        /// Bytes that were sent, the config's among them.
        bytes: u64,
    },
}

/// An image as it is sent.
struct Parcel {
    manifest: StoredManifest,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl External {
    /// Sees to it that an image of a tool is in the registry. One that is away is waited for, and a line says so.
    pub async fn provide(
        &self,
        tool: &ToolName,
        image: &Digest,
        tell: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Provided, ExternalError> {
        self.provide_within(self.inner.patience, tool, image, tell).await
    }

    /// The same without waiting for a registry that is away.
    pub async fn provide_now(&self, tool: &ToolName, image: &Digest) -> Result<Provided, ExternalError> {
        self.provide_within(Duration::ZERO, tool, image, &|_| ()).await
    }

    async fn provide_within(
        &self,
        patience: Duration,
        tool: &ToolName,
        image: &Digest,
        tell: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Provided, ExternalError> {
        let inner = &self.inner;
        let waits = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times()
            .with_jitter();
        // The time runs from the first failure on.
        let (mut failing, mut told) = (None, String::new());
        let waited = inner.place.prefix.host();
        (|| inner.provide_once(tool, image))
            .retry(waits)
            .when(ExternalError::passes)
            .adjust(|error, pause| {
                let pause = pause?.max(error.wait().unwrap_or_default());
                let failing = failing.get_or_insert_with(Instant::now).elapsed();
                // However long it wants to be left alone.
                (failing.saturating_add(pause) < patience).then_some(pause)
            })
            .notify(|error, _| {
                let why = error.to_string();
                if why != told {
                    tell(format!("waiting for {waited}: {why}"));
                    told = why;
                }
            })
            .await
    }
}

impl Inner {
    async fn provide_once(&self, tool: &ToolName, image: &Digest) -> Result<Provided, ExternalError> {
        let fail = |error| self.place.failed(error);
        let parcel = self.parcel(tool, image).await?;
        let sources = parcel.as_ref().map(|parcel| self.sources(tool, parcel)).unwrap_or_default();
        let more = sources.iter().map(|source| scope(source, "pull")).collect();
        let session = self.place.session(tool, "pull,push", more);
        // By the name that this platform gives it: another one's goes with that one's need of it. Who has nothing to name takes what
        // is there.
        let tag = self.place.names.tag(image);
        let by: Reference = if parcel.is_some() { tag.clone().into() } else { image.clone().into() };
        if session.has_manifest(&by, image).await.map_err(fail)? {
            return Ok(Provided::There);
        }
        let nowhere = || self.place.error(Cause::Nowhere { tool: tool.clone(), image: image.clone() });
        let parcel = parcel.ok_or_else(nowhere)?;
        // Never closed. Whoever waits for a registry that is away holds none.
        let _slot = self.at_once.acquire().await.ok();
        let sends: Vec<_> =
            parcel.blobs().into_values().map(|blob| self.send_blob(&session, tool, blob, &sources)).collect();
        let sent =
            futures::stream::iter(sends).buffer_unordered(BLOBS_AT_ONCE).try_collect::<Vec<_>>().await?;
        let sent = sent.into_iter().flatten().collect();
        let StoredManifest { media_type, bytes, .. } = &parcel.manifest;
        session.put_manifest(&tag, image, media_type, bytes).await.map_err(fail)?;
        Ok(parcel.provided(&sent))
    }

    /// The image as the content store has it.
    async fn parcel(&self, tool: &ToolName, image: &Digest) -> Result<Option<Parcel>, ExternalError> {
        let (content, repository) = (self.content.clone(), Repository::of_tool(tool));
        let reference = Reference::Digest(image.clone());
        let found = self.blocking(move || content.manifest(&repository, &reference)).await?;
        let Some(manifest) = found else { return Ok(None) };
        let read = Manifest::parse(&manifest.bytes)
            .map_err(|error| self.place.error(Cause::Store(error.to_string())))?;
        Ok(Some(Parcel { manifest, config: read.config, layers: read.layers }))
    }

    /// Repositories that blobs of this image can be mounted from.
    fn sources(&self, tool: &ToolName, parcel: &Parcel) -> BTreeSet<Repository> {
        let here = self.place.prefix.repository(tool);
        let known = parcel.layers.iter().filter_map(|layer| self.known.elsewhere(&layer.digest, &here));
        known.collect::<BTreeSet<_>>().into_iter().take(SOURCES).collect()
    }

    /// Sees to it that a blob is there; which, where it had to be sent.
    async fn send_blob<'a>(
        &self,
        session: &Session<'_>,
        tool: &ToolName,
        blob: &'a Descriptor,
        sources: &BTreeSet<Repository>,
    ) -> Result<Option<&'a Digest>, ExternalError> {
        let fail = |error| self.place.failed(error);
        let (digest, here) = (&blob.digest, self.place.prefix.repository(tool));
        if session.has_blob(digest).await.map_err(fail)? {
            self.known.add(digest, &here);
            return Ok(None);
        }
        let file = self.open_blob(blob).await?;
        let from = self.known.elsewhere(digest, &here).filter(|source| sources.contains(source));
        let sent = match session.begin(digest, from.as_ref()).await.map_err(fail)? {
            Begun::Mounted => None,
            Begun::At(place) => {
                session.send(place, digest, blob.size, file).await.map_err(fail)?;
                Some(digest)
            }
        };
        self.known.add(digest, &here);
        Ok(sent)
    }

    async fn open_blob(&self, blob: &Descriptor) -> Result<File, ExternalError> {
        let (content, digest, size) = (self.content.clone(), blob.digest.clone(), blob.size);
        let open = move || Ok((content.open_blob(&digest)?, content.size(&digest)?));
        let (file, found) = self.blocking(open).await?;
        if found == Some(size) {
            return Ok(file);
        }
        let why = format!("{} has {} bytes in place of {size}", blob.digest, found.unwrap_or_default());
        Err(self.place.error(Cause::Store(why)))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, ExternalError> {
        let failed = |error: &dyn std::fmt::Display| self.place.error(Cause::Store(error.to_string()));
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

impl Parcel {
    /// Everything that the manifest names, each once.
    fn blobs(&self) -> BTreeMap<&Digest, &Descriptor> {
        self.layers.iter().chain([&self.config]).map(|blob| (&blob.digest, blob)).collect()
    }

    fn provided(&self, sent: &BTreeSet<&Digest>) -> Provided {
        let new = self.layers.iter().filter(|layer| sent.contains(&layer.digest));
        let blobs = self.blobs();
        let bytes = sent.iter().filter_map(|digest| Some(blobs.get(*digest)?.size)).sum();
        Provided::Sent { layers: self.layers.len(), sent: new.count(), bytes }
    }
}
