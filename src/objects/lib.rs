//! Immutable objects that every replica of the server sees: named, and whole or absent.
//!
//! Enter at [`Objects`]; [`SharedFolder`] keeps them in a folder that all replicas mount. What changes is a row of the store
//! that names an object, never the object. This room knows neither what is in an object nor who may have it.

mod folder;
mod key;
#[cfg(test)]
mod tests;

pub use folder::SharedFolder;
pub use key::{Key, KeyError};

use async_trait::async_trait;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// An object could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The place of objects cannot be used at all.
    #[error("the objects in {place} cannot be used: {source}")]
    Open {
        /// Where they are.
        place: String,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such object.
    #[error("there is no object {0}")]
    Absent(Key),
    /// An object is larger than its reader takes.
    #[error("the object {key} has more than {most} bytes")]
    TooLarge {
        /// Which.
        key: Key,
        /// What its reader takes.
        most: u64,
    },
    /// An operation failed.
    #[error("cannot {operation} the object {key}: {source}")]
    Failed {
        /// The operation, as in `write`.
        operation: &'static str,
        /// On which object, or below which prefix.
        key: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What an object is made of.
#[derive(Debug, Clone)]
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What is in this file, which is copied.
    File(PathBuf),
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: Key,
    /// Its size.
    pub bytes: u64,
    /// Time since it was last put.
    pub age: Duration,
}

/// Reads an object from its start.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// A place of objects. Any number of replicas use it at the same time.
///
/// A key names one content for ever: whoever puts it a second time puts the same.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Makes an object; when this returns it is durable, and every replica sees it. One that is there stays as it is, and is
    /// young again.
    async fn put(&self, key: &Key, body: Body) -> Result<(), ObjectsError>;

    /// Opens an object for reading.
    async fn open(&self, key: &Key) -> Result<Reader, ObjectsError>;

    /// Time since an object was last put; `None` where there is none.
    async fn age(&self, key: &Key) -> Result<Option<Duration>, ObjectsError>;

    /// The objects whose first parts are those of `prefix`, as in `packs/12`; sorted by key.
    async fn list(&self, prefix: &Key) -> Result<Vec<Listed>, ObjectsError>;

    /// Removes an object; `false` where there was none. Who reads it already goes on.
    async fn delete(&self, key: &Key) -> Result<bool, ObjectsError>;
}

/// Reads a small object whole.
pub async fn read(objects: &dyn Objects, key: &Key, most: u64) -> Result<Vec<u8>, ObjectsError> {
    let mut bytes = Vec::new();
    let read = objects.open(key).await?.take(most + 1).read_to_end(&mut bytes).await;
    read.map_err(|source| failed("read", key.as_str(), source))?;
    if bytes.len() as u64 > most {
        return Err(ObjectsError::TooLarge { key: key.clone(), most });
    }
    Ok(bytes)
}

/// Brings an object into a file of this machine, which appears whole or not at all. Any number may bring the same one.
pub async fn fetch(objects: &dyn Objects, key: &Key, to: &Path) -> Result<(), ObjectsError> {
    let mut reader = objects.open(key).await?;
    let failed = |source| failed("fetch", key.as_str(), source);
    let draft = folder::draft(to.parent().unwrap_or(Path::new(".")));
    let work = async {
        let mut file = tokio::fs::File::create_new(&draft).await?;
        tokio::io::copy(&mut reader, &mut file).await?;
        file.sync_all().await?;
        tokio::fs::rename(&draft, to).await
    };
    let done = work.await;
    if done.is_err() {
        let _ = tokio::fs::remove_file(&draft).await;
    }
    done.map_err(failed)
}

pub(crate) fn failed(operation: &'static str, key: &str, source: std::io::Error) -> ObjectsError {
    ObjectsError::Failed { operation, key: key.to_owned(), source }
}
