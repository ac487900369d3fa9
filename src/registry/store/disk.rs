//! File operations that are on disk when they return.

use super::RegistryError;
use hythe_model::Digest;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The error of an operation; a full disk is one of its own.
pub(super) fn failed(operation: &'static str, path: &Path, source: io::Error) -> RegistryError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => RegistryError::Full { path },
        _ => RegistryError::Io { operation, path, source },
    }
}

/// Puts a folder's names on disk.
pub(super) fn sync_dir(path: &Path) -> Result<(), RegistryError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| failed("sync", path, e))
}

/// Makes a folder with those above it, durably.
pub(super) fn make_dir(path: &Path) -> Result<(), RegistryError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    make_dir(parent)?;
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed("create", path, e)),
        _ => sync_dir(parent),
    }
}

/// A new file of a name that nobody guesses.
pub(super) fn create(folder: &Path) -> Result<(File, PathBuf), RegistryError> {
    let path = folder.join(format!("{:032x}", rand::random::<u128>()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    file.map_err(|e| failed("create", &path, e)).map(|file| (file, path))
}

/// Gives a whole file its name, durably.
pub(super) fn publish(file: &File, from: &Path, to: &Path) -> Result<(), RegistryError> {
    file.sync_all().map_err(|e| failed("sync", from, e))?;
    fs::rename(from, to).map_err(|e| failed("rename", from, e))?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Writes a small file so that it is there whole or not at all; `scratch` is a folder of the same file system.
pub(super) fn write(scratch: &Path, path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    let (mut file, draft) = create(scratch)?;
    let written = file
        .write_all(bytes)
        .map_err(|e| failed("write", path, e))
        .and_then(|()| publish(&file, &draft, path));
    if written.is_err() {
        // Gone already where only the folder could not be synced.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Makes an empty file, whose name and age are all that matters; one that is there becomes young.
pub(super) fn mark(path: &Path) -> Result<(), RegistryError> {
    match File::options().write(true).open(path) {
        Ok(file) => return file.set_modified(SystemTime::now()).map_err(|e| failed("date", path, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed("look at", path, e)),
    }
    let Some(folder) = path.parent() else { return Ok(()) };
    make_dir(folder)?;
    File::create(path).map_err(|e| failed("create", path, e))?;
    sync_dir(folder)
}

pub(super) fn exists(path: &Path) -> Result<bool, RegistryError> {
    path.try_exists().map_err(|e| failed("look at", path, e))
}

/// The digests that the files of a folder are called by, as `<algorithm>/<hex>`.
pub(super) fn digests(folder: &Path) -> Result<Vec<Digest>, RegistryError> {
    let mut found = Vec::new();
    for algorithm in names(folder)? {
        let hexes = names(&folder.join(&algorithm))?;
        found.extend(hexes.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse().ok()));
    }
    Ok(found)
}

/// Reads a small file; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, RegistryError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read", path, e)),
    }
}

/// Removes a file, durably; false where there was none.
pub(super) fn remove(path: &Path) -> Result<bool, RegistryError> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_dir).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed("remove", path, e)),
    }
}

/// Removes a folder with all in it, if there is one.
pub(super) fn remove_all(path: &Path) -> Result<(), RegistryError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, e)),
        _ => Ok(()),
    }
}

/// The names in a folder, sorted; none where there is no folder. Names that are not text are none of ours.
pub(super) fn names(path: &Path) -> Result<Vec<String>, RegistryError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed("list", path, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| failed("list", path, e))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}
