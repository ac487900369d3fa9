//! Layers of images, unpacked once for all instances of all tools.
//!
//! A layer lies in `layers/<key>`, where the key is the first 32 digits of its diff id: short enough that a hundred
//! of them fit an overlay's options, long enough that nobody finds two layers of one key. It is unpacked beside its
//! place and renamed, so that what is there is whole. Several who want the same layer at once wait for the first.

use futures::stream::{self, StreamExt, TryStreamExt};
use hythe_model::Digest;
use hythe_oci::Descriptor;
use hythe_registry::ContentStore;
use hythe_sandbox::{ApplyOptions, ArchiveFormat, Helper, RelPath, SandboxError};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Layers of one image that are unpacked at the same time.
const AT_ONCE: usize = 4;

/// The layers of this machine.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// Who is unpacking what.
    busy: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    count: AtomicU64,
}

/// Where a layer lies.
pub(crate) fn path_of(diff_id: &Digest) -> Result<RelPath, String> {
    RelPath::new(format!("layers/{}", &diff_id.hex()[..32])).map_err(|error| error.to_string())
}

impl Layers {
    /// Sees to it that these layers (blob and diff id) are there; their paths in the same order.
    pub(crate) async fn unpacked(
        &self,
        helper: &Helper,
        content: &ContentStore,
        layers: Vec<(Descriptor, Digest)>,
    ) -> Result<Vec<RelPath>, String> {
        let one = |(blob, diff_id)| async move { self.one(helper, content, &blob, &diff_id).await };
        let each = layers.into_iter().map(one);
        stream::iter(each).buffered(AT_ONCE).try_collect().await
    }

    async fn one(
        &self,
        helper: &Helper,
        content: &ContentStore,
        blob: &Descriptor,
        diff_id: &Digest,
    ) -> Result<RelPath, String> {
        let path = path_of(diff_id)?;
        let failed =
            |error: SandboxError| format!("its layer {} cannot be unpacked: {error}", diff_id.short());
        if helper.exists(&path).await.map_err(failed)? {
            return Ok(path);
        }
        let turn = self.turn(diff_id);
        let _held = turn.lock().await;
        let there = match helper.exists(&path).await {
            Ok(false) => self.unpack(helper, content, blob, diff_id, &path).await,
            Ok(true) => Ok(()),
            Err(error) => Err(failed(error)),
        };
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(diff_id);
        there.map(|()| path)
    }

    fn turn(&self, diff_id: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.entry(diff_id.clone()).or_default().clone()
    }

    async fn unpack(
        &self,
        helper: &Helper,
        content: &ContentStore,
        blob: &Descriptor,
        diff_id: &Digest,
        path: &RelPath,
    ) -> Result<(), String> {
        let failed =
            |error: SandboxError| format!("its layer {} cannot be unpacked: {error}", diff_id.short());
        let Some(format) = ArchiveFormat::of_media_type(&blob.media_type) else {
            return Err(format!("its layer {} is a {}", diff_id.short(), blob.media_type));
        };
        let file = content.open_blob(&blob.digest).map_err(|error| error.to_string())?;
        let beside = self.beside(diff_id)?;
        let options = ApplyOptions { expect: Some(diff_id.clone()), ..ApplyOptions::layer(format) };
        let done = match helper.unpack(file, &beside, options).await {
            Ok(_) => helper.rename(&beside, path).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => Ok(()),
            Err(error) => {
                let _ = helper.remove(&beside).await;
                // A build may have unpacked the same layer meanwhile.
                match helper.exists(path).await {
                    Ok(true) => Ok(()),
                    _ => Err(failed(error)),
                }
            }
        }
    }

    fn beside(&self, diff_id: &Digest) -> Result<RelPath, String> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let name = format!("layers/{}.new-{}-{count}", &diff_id.hex()[..32], std::process::id());
        RelPath::new(name).map_err(|error| error.to_string())
    }
}

/// Removes layers that were half unpacked when an earlier run of the server ended.
pub(crate) async fn sweep(helper: &Helper) -> Result<(), SandboxError> {
    let Ok(folder) = RelPath::new("layers") else { return Ok(()) };
    let own = format!(".new-{}-", std::process::id());
    for name in helper.list_dir(&folder).await? {
        if name.contains(".new-")
            && !name.contains(&own)
            && let Ok(path) = folder.join(&name)
        {
            helper.remove(&path).await?;
        }
    }
    Ok(())
}
