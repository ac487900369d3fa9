//! Copies of files and folders, and small reads.

use crate::BuildpackError;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Reads a text file of the source; nothing where there is none.
pub fn read_optional(path: &Path) -> Result<Option<String>, BuildpackError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => Ok(None),
        Err(error) => Err(BuildpackError::files("read", path)(error)),
    }
}

/// Copies a file with its permissions, following a symlink; makes the folders above.
pub fn copy_file(from: &Path, to: &Path) -> Result<(), BuildpackError> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(BuildpackError::files("make", folder))?;
    }
    fs::copy(from, to).map(|_| ()).map_err(BuildpackError::files("copy", from))
}

/// Copies a folder. Entries whose name `skip` accepts stay behind, and so do symlinks that lead out of the folder.
pub fn copy_tree(from: &Path, to: &Path, skip: &dyn Fn(&str) -> bool) -> Result<(), BuildpackError> {
    fs::create_dir_all(to).map_err(BuildpackError::files("make", to))?;
    for entry in fs::read_dir(from).map_err(BuildpackError::files("read", from))? {
        let entry = entry.map_err(BuildpackError::files("read", from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if skip(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let kind = entry.file_type().map_err(BuildpackError::files("read", &path))?;
        if kind.is_dir() {
            copy_tree(&path, &target, skip)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&path).map_err(BuildpackError::files("read", &path))?;
            if link.is_relative() && !link.components().any(|part| part.as_os_str() == "..") {
                std::os::unix::fs::symlink(link, &target).map_err(BuildpackError::files("link", &target))?;
            }
        } else if kind.is_file() {
            copy_file(&path, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_leaves_out_what_leads_away() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        fs::create_dir_all(from.join("sub/__pycache__")).unwrap();
        fs::write(from.join("sub/a"), "a").unwrap();
        std::os::unix::fs::symlink("a", from.join("sub/b")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("away")).unwrap();
        std::os::unix::fs::symlink("../../x", from.join("sub/up")).unwrap();
        let to = root.path().join("to");
        copy_tree(&from, &to, &|name| name == "__pycache__").unwrap();
        assert_eq!(fs::read_to_string(to.join("sub/b")).unwrap(), "a");
        for absent in ["away", "sub/up", "sub/__pycache__"] {
            assert!(to.join(absent).symlink_metadata().is_err(), "{absent}");
        }
    }

    #[test]
    fn a_missing_file_is_no_error() {
        assert!(read_optional(Path::new("/no/such/file")).unwrap().is_none());
    }
}
