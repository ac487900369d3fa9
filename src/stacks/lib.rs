//! Stack definitions and their base images.
//!
//! A stack is a folder with a `stack.toml`: packages, users and targets as data. [`ensure`] is the entrance: it finds
//! the stack's images in the content store, takes them from a cache, or builds them with mmdebstrap as an ordinary user.
//! [`finish`] fills a cache for servers that can build none.
//! This room never runs a tool's code and never talks to a registry over the network.

mod bootstrap;
mod definition;
mod egress;
mod error;
mod fetch;
mod image;
mod layer;
mod make;
mod publish;
mod tree;

pub use definition::{Archive, Definition, Distribution, PackageSet, Target, User, Users};
pub use egress::Egress;
pub use error::StackError;
pub use image::{StackImage, StackImages, StackLayer};

use hythe_registry::ContentStore;
use make::Finished;
use std::path::{Path, PathBuf};

/// Version of how a definition becomes bytes; a change makes new images of every definition.
const LAYOUT: u32 = 1;

/// Where packages come from.
#[derive(Debug, Clone)]
pub struct Mirrors {
    /// Debian's archive, as in `http://deb.debian.org/debian`.
    pub debian: String,
    /// Debian's security archive.
    pub debian_security: String,
    /// The npm registry, from which Node.js and npm are taken.
    pub npm: String,
}

impl Default for Mirrors {
    fn default() -> Self {
        Self {
            debian: "http://deb.debian.org/debian".into(),
            debian_security: "http://deb.debian.org/debian-security".into(),
            npm: "https://registry.npmjs.org".into(),
        }
    }
}

/// What [`ensure`] needs to know.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The folder that holds `stack.toml`.
    pub definition: PathBuf,
    /// A folder for archives while they are made; it must lie on a file system with about 2 GB free.
    pub work: PathBuf,
    /// A folder that keeps finished layers beyond this data folder's life, so that another one starts at once.
    pub cache: Option<PathBuf>,
    /// Where packages come from.
    pub mirrors: Mirrors,
}

/// As [`ensure_through`], the way that this process's own environment says.
pub async fn ensure(
    content: &ContentStore,
    options: &StackOptions,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<StackImages, StackError> {
    ensure_through(content, options, &Egress::default(), progress).await
}

/// Finds, fetches from the cache or builds the stack's images, and publishes them as `stacks/<id>/{run,build}`.
///
/// `progress` is called with one line of text for people at each step that takes noticeable time; not at all where the
/// images are there already.
pub async fn ensure_through(
    content: &ContentStore,
    options: &StackOptions,
    egress: &Egress,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<StackImages, StackError> {
    let definition = Definition::read(&options.definition)?;
    if let Some(images) = blocking(content, &definition, publish::find).await? {
        return Ok(images);
    }
    let cached = options.cache.as_ref().map(|cache| cache.join(definition.key()));
    if let Some(folder) = &cached
        && let Some(images) = from_cache(content, &definition, folder, progress).await?
    {
        return Ok(images);
    }
    let work = options.cache.as_ref().unwrap_or(&options.work);
    let (folder, finished) = make_in(work, &definition, &options.mirrors, egress, progress).await?;
    let images = publish_from(content, &definition, folder.path().to_owned(), finished).await?;
    // The images are there; a cache that takes nothing only costs the next data folder a minute.
    if let Some(Err(error)) = cached.map(|cached| folder.keep(&cached)) {
        tracing::warn!(error = %error, "the stack is not kept in the cache");
    }
    Ok(images)
}

/// The folder with the stack's finished layers in a cache, made where it is missing or damaged: what [`ensure`] takes from there.
pub async fn finish(
    definition: &Path,
    cache: &Path,
    mirrors: &Mirrors,
    egress: &Egress,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<PathBuf, StackError> {
    let definition = Definition::read(definition)?;
    let kept = cache.join(definition.key());
    if let Some(finished) = Finished::read(&kept) {
        let folder = kept.clone();
        if off_thread(move || Ok(finished.is_sound(&folder))).await? {
            return Ok(kept);
        }
        discard(&kept, &definition, progress);
    }
    let (folder, _) = make_in(cache, &definition, mirrors, egress, progress).await?;
    folder.keep(&kept)?;
    Ok(kept)
}

/// Makes the layers in a new folder below this one.
async fn make_in(
    work: &Path,
    definition: &Definition,
    mirrors: &Mirrors,
    egress: &Egress,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<(Workfolder, Finished), StackError> {
    progress(&format!("{}: building both images; this takes a minute, once", definition.id));
    let folder = Workfolder::make(work)?;
    let tell = |line: &str| progress(&format!("{}: {line}", definition.id));
    let finished = make::make(definition, mirrors, egress, folder.path(), &tell).await?;
    Ok((folder, finished))
}

/// Publishes what the cache keeps. Where that is damaged it is removed and there is nothing, so that it is made anew.
async fn from_cache(
    content: &ContentStore,
    definition: &Definition,
    folder: &Path,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Option<StackImages>, StackError> {
    let Some(finished) = Finished::read(folder) else { return Ok(None) };
    progress(&format!("{}: taken from the cache", definition.id));
    let error = match publish_from(content, definition, folder.to_owned(), finished.clone()).await {
        Ok(images) => return Ok(Some(images)),
        Err(error) => error,
    };
    let path = folder.to_owned();
    let is_sound = move |_: &ContentStore, _: &Definition| Ok(finished.is_sound(&path));
    if blocking(content, definition, is_sound).await? {
        return Err(error);
    }
    tracing::warn!(error = %error, "the stack's cache is damaged");
    discard(folder, definition, progress);
    Ok(None)
}

/// Removes what a cache keeps of a stack, because it is damaged.
fn discard(kept: &Path, definition: &Definition, progress: &(dyn Fn(&str) + Send + Sync)) {
    progress(&format!("{}: the cache is damaged", definition.id));
    let _ = std::fs::remove_dir_all(kept);
}

/// How the names of folders begin in which a stack is being made.
const MAKING: &str = ".making-";
/// After this time nobody makes a stack in such a folder any more.
const ABANDONED: std::time::Duration = std::time::Duration::from_hours(6);

/// Removes what a crash left of an earlier build.
fn sweep(folder: &Path) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let old = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let old = old.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > ABANDONED);
        if old && entry.file_name().to_string_lossy().starts_with(MAKING) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder that is made for one build of a stack and goes with it, unless it is kept.
struct Workfolder(tempfile::TempDir);

impl Workfolder {
    /// In a cache's own folder it can be renamed into its place.
    fn make(path: &Path) -> Result<Self, StackError> {
        sweep(path);
        let made = std::fs::create_dir_all(path)
            .and_then(|()| tempfile::Builder::new().prefix(MAKING).tempdir_in(path));
        made.map(Self).map_err(|source| StackError::Files {
            operation: "make",
            path: path.to_owned(),
            source,
        })
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes it the cache's folder of a key; another process may have been quicker with the same.
    fn keep(self, target: &Path) -> Result<(), StackError> {
        if Finished::read(target).is_none() {
            let _ = std::fs::remove_dir_all(target);
        }
        match std::fs::rename(self.path(), target) {
            Err(source) if Finished::read(target).is_none() => {
                Err(StackError::Files { operation: "keep", path: target.to_owned(), source })
            }
            _ => Ok(()),
        }
    }
}

async fn publish_from(
    content: &ContentStore,
    definition: &Definition,
    folder: PathBuf,
    finished: Finished,
) -> Result<StackImages, StackError> {
    let publish = move |content: &ContentStore, definition: &Definition| {
        publish::publish(content, definition, &folder, &finished)
    };
    blocking(content, definition, publish).await
}

/// Runs what reads and writes files on a thread of its own.
async fn blocking<T: Send + 'static>(
    content: &ContentStore,
    definition: &Definition,
    work: impl FnOnce(&ContentStore, &Definition) -> Result<T, StackError> + Send + 'static,
) -> Result<T, StackError> {
    let (content, definition) = (content.clone(), definition.clone());
    off_thread(move || work(&content, &definition)).await
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StackError> + Send + 'static,
) -> Result<T, StackError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(StackError::Files {
            operation: "publish",
            path: PathBuf::new(),
            source: std::io::Error::other(panic),
        })
    })
}

#[cfg(test)]
mod tests;
