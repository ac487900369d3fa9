//! Files of the pod: small ones, read with bounds and never waited for.

use crate::CarryError;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Reads JSON of at most `max` bytes that untrusted code may have written: a link is not followed.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, max: u64) -> Result<T, CarryError> {
    read_with(path, max, OFlags::NOFOLLOW)
}

/// Reads JSON of at most `max` bytes that the cluster has put there, which it does by a link.
pub(crate) fn read_given<T: DeserializeOwned>(path: &Path, max: u64) -> Result<T, CarryError> {
    read_with(path, max, OFlags::empty())
}

fn read_with<T: DeserializeOwned>(path: &Path, max: u64, how: OFlags) -> Result<T, CarryError> {
    let failed = |error: &dyn std::fmt::Display| CarryError::file("read", path, error);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | how;
    let file = open(path, flags, Mode::empty()).map_err(|error| failed(&error))?;
    let stat = fstat(&file).map_err(|error| failed(&error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(failed(&"it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(max + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > max {
        return Err(failed(&format!("it is larger than {max} bytes")));
    }
    serde_json::from_slice(&bytes).map_err(|error| failed(&error))
}

/// Writes JSON that only this user reads.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<(), CarryError> {
    let failed = |error: &dyn std::fmt::Display| CarryError::file("write", path, error);
    let bytes = serde_json::to_vec(value).map_err(|error| failed(&error))?;
    let mut file = File::create(path).map_err(|error| failed(&error))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|error| failed(&error))?;
    file.write_all(&bytes).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_plain_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, &[1, 2, 3]).unwrap();
        assert_eq!(read::<Vec<u8>>(&path, 7).unwrap(), [1, 2, 3]);
        assert!(read::<Vec<u8>>(&path, 6).unwrap_err().to_string().contains("larger than 6 bytes"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read::<Vec<u8>>(&link, 100).is_err());
        assert_eq!(read_given::<Vec<u8>>(&link, 100).unwrap(), [1, 2, 3]);
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(read::<Vec<u8>>(&pipe, 100).unwrap_err().to_string().contains("regular file"));
    }
}
