//! Objects as files of a folder that all replicas mount.
//!
//! An object is written beside the others under a name that nobody guesses, brought to the disk and renamed into place: who
//! looks sees all of it or nothing, also where several write the same. No lock is needed, and so nothing of a replica that
//! dies stays locked.

use crate::{Body, Key, Listed, Objects, ObjectsError, Reader, failed};
use async_trait::async_trait;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where objects lie that are not whole yet; no key begins with a dot.
const DRAFTS: &str = ".new";
/// What was not finished in this time is nobody's any more.
const ABANDONED: Duration = Duration::from_hours(24);

/// A folder of objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedFolder {
    root: PathBuf,
}

impl SharedFolder {
    /// Opens the folder, which is there already: one that was made here by mistake would be nobody else's. Removes what replicas
    /// that died long ago have left half-written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, ObjectsError> {
        let root = root.into();
        let open = || {
            if !root.is_dir() {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "there is no such folder; mount it first",
                ));
            }
            make_dir(&root.join(DRAFTS))?;
            sweep(&root.join(DRAFTS))
        };
        open().map_err(|source| ObjectsError::Open { place: root.display().to_string(), source })?;
        Ok(Self { root })
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Does what blocks on a thread of its own.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: &Key,
        work: impl FnOnce(&Self, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ObjectsError> {
        let (own, path) = (self.clone(), self.path(key));
        let done = tokio::task::spawn_blocking(move || work(&own, &path)).await;
        done.map_err(io::Error::other).flatten().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound if operation == "open" => ObjectsError::Absent(key.clone()),
            _ => failed(operation, key.as_str(), source),
        })
    }

    fn write(&self, path: &Path, body: &Body) -> io::Result<()> {
        if let Ok(there) = File::open(path) {
            return there.set_modified(SystemTime::now());
        }
        let draft = draft(&self.root.join(DRAFTS));
        let written = write_draft(&draft, body).and_then(|()| place(&draft, path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }
}

#[async_trait]
impl Objects for SharedFolder {
    async fn put(&self, key: &Key, body: Body) -> Result<(), ObjectsError> {
        self.blocking("write", key, move |own, path| own.write(path, &body)).await
    }

    async fn open(&self, key: &Key) -> Result<Reader, ObjectsError> {
        let file = self.blocking("open", key, |_, path| File::open(path)).await?;
        Ok(Box::new(tokio::fs::File::from_std(file)))
    }

    async fn age(&self, key: &Key) -> Result<Option<Duration>, ObjectsError> {
        self.blocking("look for", key, |_, path| age(path)).await
    }

    async fn list(&self, prefix: &Key) -> Result<Vec<Listed>, ObjectsError> {
        self.blocking("list", prefix, |own, path| {
            let mut found = Vec::new();
            list(&own.root, path, &mut found)?;
            found.sort_by(|one: &Listed, two| one.key.cmp(&two.key));
            Ok(found)
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<bool, ObjectsError> {
        self.blocking("remove", key, |_, path| match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
            Ok(()) => {
                if let Some(folder) = path.parent() {
                    sync_dir(folder)?;
                    // Fails where others lie in it, which is as it should be.
                    let _ = fs::remove_dir(folder);
                }
                Ok(true)
            }
        })
        .await
    }
}

/// A name that nobody guesses.
pub(crate) fn draft(folder: &Path) -> PathBuf {
    folder.join(format!(".new-{:032x}", rand::random::<u128>()))
}

fn write_draft(draft: &Path, body: &Body) -> io::Result<()> {
    let mut file = File::create_new(draft)?;
    match body {
        Body::Bytes(bytes) => file.write_all(bytes)?,
        Body::File(from) => drop(io::copy(&mut File::open(from)?, &mut file)?),
    }
    file.sync_all()
}

/// Gives a whole file its name. Its folder may be removed under it, as an empty one: then it is made once more.
fn place(draft: &Path, path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_dir(folder)?;
    if let Err(error) = fs::rename(draft, path) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        make_dir(folder)?;
        fs::rename(draft, path)?;
    }
    sync_dir(folder)
}

/// Makes a folder with those above it, durably; any number may do so at once.
fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    make_dir(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_dir(parent),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes drafts whose writers are long gone.
fn sweep(drafts: &Path) -> io::Result<()> {
    for entry in fs::read_dir(drafts)? {
        let path = entry?.path();
        if age(&path)?.is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// Time since a file was written; none where it is gone. A time in the future is young.
fn age(path: &Path) -> io::Result<Option<Duration>> {
    match fs::metadata(path).and_then(|stat| stat.modified()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        written => Ok(Some(written?.elapsed().unwrap_or_default())),
    }
}

/// Lists what lies below a folder, or nothing where there is none.
fn list(root: &Path, folder: &Path, found: &mut Vec<Listed>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            list(root, &path, found)?;
            continue;
        }
        let name = path.strip_prefix(root).ok().and_then(Path::to_str);
        let Some(key) = name.and_then(|name| name.parse().ok()) else { continue };
        // Gone meanwhile where there is no age.
        if let (Some(age), Ok(stat)) = (age(&path)?, fs::metadata(&path)) {
            found.push(Listed { key, bytes: stat.len(), age });
        }
    }
    Ok(())
}
