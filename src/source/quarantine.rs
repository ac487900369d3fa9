//! The objects of a push before they are let in.

use crate::{Repositories, SourceError};
use hythe_model::ToolName;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A folder of objects that git keeps apart while the `pre-receive` hook judges them (git's `GIT_QUARANTINE_PATH`).
#[derive(Debug, Clone)]
pub struct Quarantine {
    path: PathBuf,
}

impl Quarantine {
    /// The quarantine at `path`, which must lie directly in the tool's own object folder.
    pub fn of(repositories: &Repositories, tool: &ToolName, path: &Path) -> Result<Self, SourceError> {
        let objects = repositories.path(tool).join("objects");
        let inside = || -> io::Result<bool> {
            Ok(fs::canonicalize(path)?.parent() == Some(fs::canonicalize(&objects)?.as_path()))
        };
        if !inside().unwrap_or(false) {
            return Err(SourceError::Quarantine(path.to_owned()));
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many objects are in it.
    pub fn objects(&self) -> Result<u64, SourceError> {
        self.count().map_err(SourceError::QuarantineRead)
    }

    /// Removes every object, so that a refused push leaves nothing behind whatever git does next.
    pub fn empty(&self) -> Result<(), SourceError> {
        self.clear().map_err(SourceError::QuarantineRead)
    }

    fn count(&self) -> io::Result<u64> {
        let mut objects = 0;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let loose = is_fan(&entry);
            if !loose && entry.file_name() != "pack" {
                continue;
            }
            for file in fs::read_dir(entry.path())? {
                let path = file?.path();
                if loose {
                    objects += 1;
                } else if path.extension().is_some_and(|extension| extension == "idx") {
                    objects += u64::from(pack_objects(&path)?);
                }
            }
        }
        Ok(objects)
    }

    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if !is_fan(&entry) && entry.file_name() != "pack" {
                continue;
            }
            for file in fs::read_dir(entry.path())? {
                fs::remove_file(file?.path())?;
            }
        }
        Ok(())
    }
}

/// Whether this is a folder of loose objects, `00` to `ff`.
fn is_fan(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    name.len() == 2 && name.to_str().is_some_and(|name| u8::from_str_radix(name, 16).is_ok())
}

/// Objects of a pack, from the last slot of its index's fan-out table (git's pack-format, version 2).
fn pack_objects(index: &Path) -> io::Result<u32> {
    let mut file = fs::File::open(index)?;
    let mut head = [0; 8];
    file.read_exact(&mut head)?;
    let second = head == [0xff, b't', b'O', b'c', 0, 0, 0, 2];
    file.seek(SeekFrom::Start(if second { 8 } else { 0 } + 255 * 4))?;
    let mut last = [0; 4];
    file.read_exact(&mut last)?;
    Ok(u32::from_be_bytes(last))
}
