//! The whole platform in a folder, and back.
//!
//! The rows are copied first, consistently; everything they name is immutable or grows only while cleaning up is held
//! off, and is copied after them, so that a backup made under load never names what it does not hold. What can be made
//! again (unpacked layers, caches, sockets) is left out.

use crate::control::{self, Lock};
use crate::folders::Data;
use crate::settings::Settings;
use anyhow::{Context, Result, bail, ensure};
use hythe_store::{Database, Store};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

/// Folders of the data folder that a backup holds.
const PARTS: [&str; 5] = ["keys", "sources", "repos", "registry", "logs"];
/// Its last file: a folder without it is no whole backup.
const MARK: &str = "backup.json";

/// Copies the platform while it runs. Rows in PostgreSQL are not this program's to copy: their server has tools that know
/// its version, its replicas and its archive. The operator copies them first, and says so by `without_rows`.
pub(crate) fn backup(settings: &Settings, to: &Path, without_rows: bool) -> Result<()> {
    let data = settings.data()?;
    if let Some(shared) = &settings.config.objects.folder {
        bail!(
            "several servers share {0}, which its own tools back up. First copy the rows, as by:  pg_dump --format=custom\n  \
             Then copy {0} whole, within a day: so long stays what the rows named. \
             Missing may be what was cleaned up meanwhile: logs beyond [logs] builds, images beyond [registry] keep_releases.",
            shared.display()
        );
    }
    let database = settings.database(&data)?;
    match (&database, without_rows) {
        (Database::File(file), false) => {
            ensure!(file.exists(), "there is no platform in {} yet", data.root().display());
        }
        (Database::File(_), true) => bail!("the rows are in the data folder; take --without-rows away"),
        (Database::Postgres { .. }, true) => (),
        (Database::Postgres { .. }, false) => bail!(
            "the rows are in {database}, which its own tools back up. First copy them, as by:  pg_dump --format=custom\n  \
             Then copy all else:  hythed backup --without-rows {}\n  \
             In this order the copy never names what it does not hold.",
            to.display()
        ),
    }
    fs::DirBuilder::new().mode(0o700).create(to).with_context(|| format!("cannot make {}", to.display()))?;
    // Nothing is removed or repacked meanwhile; a round that is under way is waited for.
    let held = File::options().create(true).truncate(false).write(true).open(data.upkeep_lock())?;
    held.lock().context("cannot hold cleaning up off")?;
    if !without_rows {
        control::runtime()?.block_on(async {
            let store = Store::open(database).await?;
            store.backup_to(&to.join("hythe.db")).await.map_err(anyhow::Error::from)
        })?;
    }
    let mut copied = Copied::default();
    for part in PARTS {
        let from = data.root().join(part);
        if from.exists() {
            copy_tree(&from, &to.join(part), &mut copied)
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    let mark = serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "files": copied.files, "bytes": copied.bytes, "rows": !without_rows });
    // The mark says that all else is on the disk.
    sync(to)?;
    fs::write(to.join(MARK), mark.to_string())?;
    sync(to)?;
    let rows = if without_rows { "; the rows are not among them" } else { "" };
    println!("backed up {} files, {}{rows}", copied.files, hythe_model::render::size(copied.bytes));
    Ok(())
}

/// Fills an empty data folder. Tools are started by the next `serve`.
pub(crate) fn restore(settings: &Settings, from: &Path) -> Result<()> {
    ensure!(from.join(MARK).exists(), "{} is not a whole backup: it has no {MARK}", from.display());
    let data: Data = settings.data()?;
    let _lock = Lock::take(&data)?;
    if data.database().exists() {
        bail!("{} holds a platform already; restore into an empty folder", data.root().display());
    }
    let mut copied = Copied::default();
    for part in PARTS {
        if from.join(part).exists() {
            copy_tree(&from.join(part), &data.root().join(part), &mut copied)?;
        }
    }
    // The rows come last: before them the folder counts as empty, and a restore that was cut off can be done again.
    let rows = from.join("hythe.db");
    if rows.exists() {
        let fresh = data.root().join("hythe.db.new");
        fs::copy(&rows, &fresh)?;
        sync(data.root())?;
        fs::rename(&fresh, data.database())?;
    }
    sync(data.root())?;
    let missing = if rows.exists() {
        ""
    } else {
        "; the rows are not among them: restore the database with its own tools"
    };
    println!("restored {} files, {}{missing}", copied.files, hythe_model::render::size(copied.bytes));
    Ok(())
}

/// Puts everything on the disk that was written to the file system of this folder.
fn sync(folder: &Path) -> Result<()> {
    nix::unistd::syncfs(File::open(folder)?).context("cannot sync the disk")
}

#[derive(Default)]
struct Copied {
    files: u64,
    bytes: u64,
}

/// Copies a folder. A file that vanishes under the copy was replaced by a newer one and is not missed; in a
/// repository, refs are copied before the objects they name.
fn copy_tree(from: &Path, to: &Path, copied: &mut Copied) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for path in objects_last(from)? {
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        let kind = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            kind => kind?.file_type(),
        };
        let done = if kind.is_dir() {
            copy_tree(&path, &target, copied)
        } else if kind.is_symlink() {
            let _ = fs::remove_file(&target);
            fs::read_link(&path).and_then(|link| symlink(link, &target))
        } else if kind.is_file() {
            // Of a restore that was cut off; git's own files cannot be written over.
            let _ = fs::remove_file(&target);
            fs::copy(&path, &target).map(|bytes| {
                copied.files += 1;
                copied.bytes += bytes;
            })
        } else {
            Ok(())
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            done => done?,
        }
    }
    Ok(())
}

fn objects_last(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort_by_key(|path| {
        (path.file_name().is_some_and(|name| name == "objects" || name == "blobs"), path.clone())
    });
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_copied_with_links_and_objects_come_last() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        fs::create_dir_all(from.join("objects/ab")).unwrap();
        fs::create_dir_all(from.join("refs")).unwrap();
        fs::write(from.join("objects/ab/cd"), "object").unwrap();
        fs::write(from.join("refs/main"), "abcd").unwrap();
        symlink("refs/main", from.join("HEAD")).unwrap();
        let order: Vec<_> = objects_last(&from).unwrap();
        assert!(order.last().unwrap().ends_with("objects"));

        let mut copied = Copied::default();
        let to = folder.path().join("to");
        copy_tree(&from, &to, &mut copied).unwrap();
        assert_eq!((copied.files, copied.bytes), (2, 10));
        assert_eq!(fs::read_to_string(to.join("HEAD")).unwrap(), "abcd");
        assert_eq!(fs::read_to_string(to.join("objects/ab/cd")).unwrap(), "object");
    }
}
