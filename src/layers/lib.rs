//! Layers of images, unpacked once for every build and every instance of this machine.
//!
//! Enter at [`Layers::open`]. A layer lies in `layers/<key>` of the sandbox helper's folder, where the key is the first
//! 32 digits of its diff id: short enough that a hundred of them fit an overlay's options, long enough that nobody finds
//! two layers of one key. It is unpacked beside its place and renamed, so that what is there is whole; several who want
//! the same layer at once wait for the first. This room never decides which layers are wanted.
//!
//! A rename does not outlive a power cut by itself. Soon after a layer came, the file system is synced and the layer
//! marked; after a start of the machine, layers without a mark are unpacked anew.

mod durable;
mod prune;

pub use durable::boot_id;

use durable::Durable;
use futures::stream::{self, StreamExt, TryStreamExt};
use hythe_model::{Digest, Fault};
use hythe_oci::LayerDescriptor;
use hythe_registry::{ContentStore, RegistryError};
use hythe_sandbox::{ApplyOptions, ArchiveFormat, Helper, RelPath, SandboxError};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::RwLock;

/// Layers of one image that are unpacked at the same time.
const AT_ONCE: usize = 4;
/// Digits of a diff id that name its folder.
const KEY: usize = 32;
/// The folder of all layers, in the helper's own.
const FOLDER: &str = "layers";

/// Why a layer is not there.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// The helper could not unpack, look or remove.
    #[error("layer {layer}: {source}")]
    Sandbox {
        /// Which, in short; or all.
        layer: String,
        /// Why.
        source: SandboxError,
    },
    /// Its blob cannot be read.
    #[error("layer {layer}: {source}")]
    Blob {
        /// Which, in short.
        layer: String,
        /// Why.
        source: RegistryError,
    },
    /// It is no archive that can be unpacked.
    #[error("layer {layer} is a {media_type}, which cannot be unpacked")]
    MediaType {
        /// Which, in short.
        layer: String,
        /// What it is.
        media_type: String,
    },
}

impl LayersError {
    /// This failure for a user.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Sandbox { source, .. } => source.fault(),
            other => Fault::new("sandbox/layer", "A layer of the image cannot be unpacked.")
                .why(other.to_string())
                .next("Try again; if it stays so, show this to the operator."),
        }
    }

    fn all(source: SandboxError) -> Self {
        Self::Sandbox { layer: "folder".to_owned(), source }
    }
}

/// The layers of this machine. Cheap to clone; every clone is the same.
#[derive(Debug, Clone)]
pub struct Layers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    helper: Helper,
    content: ContentStore,
    durable: Durable,
    /// Who is unpacking what.
    busy: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// When each was last asked for; what was asked for lately is not pruned.
    asked: Mutex<HashMap<String, Instant>>,
    /// Held shared by who looks whether a layer is there, alone by who renames one away.
    removing: RwLock<()>,
    count: AtomicU64,
}

/// Name of a layer's folder.
fn key(diff_id: &Digest) -> String {
    diff_id.hex().chars().take(KEY).collect()
}

/// The folder of all layers.
fn folder() -> Result<RelPath, LayersError> {
    RelPath::new(FOLDER).map_err(|error| {
        LayersError::all(SandboxError::Answer {
            operation: "name the folder of layers",
            why: error.to_string(),
        })
    })
}

fn place(name: &str) -> Result<RelPath, LayersError> {
    RelPath::new(format!("{FOLDER}/{name}")).map_err(|error| {
        let source = SandboxError::Answer { operation: "name a layer", why: error.to_string() };
        LayersError::Sandbox { layer: name.to_owned(), source }
    })
}

impl Layers {
    /// The layers in the helper's folder, which is `folder` on this machine's disk. Removes what an earlier run left half
    /// unpacked, and after a start of the machine what may not have reached the disk. Call it once in a process.
    pub async fn open(helper: Helper, content: ContentStore, folder: &Path) -> Result<Self, LayersError> {
        let durable = Durable::open(&helper, folder).await?;
        let inner = Inner {
            helper,
            content,
            durable,
            busy: Mutex::default(),
            asked: Mutex::default(),
            removing: RwLock::default(),
            count: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Sees to it that these layers are there; their paths in the same order.
    pub async fn unpacked(&self, layers: Vec<LayerDescriptor>) -> Result<Vec<RelPath>, LayersError> {
        let each = layers.into_iter().map(|layer| async move { self.one(&layer).await });
        stream::iter(each).buffered(AT_ONCE).try_collect().await
    }

    /// Waits until all that was written to the helper's folder until now is on the disk; `false` where it may not be.
    pub async fn sync(&self) -> bool {
        self.inner.durable.sync().await
    }

    async fn one(&self, layer: &LayerDescriptor) -> Result<RelPath, LayersError> {
        let inner = &self.inner;
        let name = key(&layer.diff_id);
        let path = place(&name)?;
        let failed = |source| LayersError::Sandbox { layer: layer.diff_id.short().to_owned(), source };
        // Noted before the look: from here on nobody takes it away.
        inner.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Instant::now());
        let removing = inner.removing.read().await;
        let there = inner.helper.exists(&path).await.map_err(failed)?;
        drop(removing);
        if there {
            return Ok(path);
        }
        let turn = inner.turn(&name);
        let held = turn.lock().await;
        let there = match inner.helper.exists(&path).await {
            Ok(false) => self.unpack(layer, &path).await,
            Ok(true) => Ok(()),
            Err(error) => Err(failed(error)),
        };
        drop(held);
        inner.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        there.map(|()| path)
    }

    async fn unpack(&self, layer: &LayerDescriptor, path: &RelPath) -> Result<(), LayersError> {
        let Inner { helper, content, durable, .. } = &*self.inner;
        let LayerDescriptor { blob, diff_id } = layer;
        let layer = || diff_id.short().to_owned();
        let Some(format) = ArchiveFormat::of_media_type(&blob.media_type) else {
            return Err(LayersError::MediaType { layer: layer(), media_type: blob.media_type.clone() });
        };
        let file =
            content.open_blob(&blob.digest).map_err(|source| LayersError::Blob { layer: layer(), source })?;
        let beside = self.beside(&key(diff_id))?;
        let options = ApplyOptions { expect: Some(diff_id.clone()), ..ApplyOptions::layer(format) };
        let done = match helper.unpack(file, &beside, options).await {
            Ok(_) => helper.rename(&beside, path).await,
            Err(error) => Err(error),
        };
        if let Err(source) = done {
            let _ = helper.remove(&beside).await;
            return Err(LayersError::Sandbox { layer: layer(), source });
        }
        durable.came(key(diff_id));
        Ok(())
    }

    /// A name that the next sweep removes.
    fn beside(&self, key: &str) -> Result<RelPath, LayersError> {
        let count = self.inner.count.fetch_add(1, Ordering::Relaxed);
        place(&format!("{key}{}{}-{count}", durable::HALF, std::process::id()))
    }
}

impl Inner {
    fn turn(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.entry(key.to_owned()).or_default().clone()
    }
}
