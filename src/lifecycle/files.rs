//! Files that buildpacks write: read with bounds, never waited for.

use hythe_cnb::protocol::Failure;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The content of a regular file; `None` where there is none. A pipe or a device in its place is an error, not a wait.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Option<String>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is not a regular file")),
        Ok(metadata) if metadata.len() > max => {
            return Err(io::Error::other(format!("it is larger than {max} bytes")));
        }
        Ok(_) => {}
    }
    let mut text = String::new();
    File::open(path)?.take(max).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// The failure of a file operation of the lifecycle's own.
pub(crate) fn setup(operation: &str, path: &Path) -> impl FnOnce(io::Error) -> Box<Failure> {
    let what = format!("cannot {operation} {}", path.display());
    move |error| Box::new(Failure::Setup { reason: format!("{what}: {error}") })
}

/// A folder of the lifecycle's own that goes with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one; `name` is told apart by the process's id.
    pub(crate) fn make(name: &str) -> Result<Self, Box<Failure>> {
        let path = std::env::temp_dir().join(format!("lifecycle-{}-{name}", std::process::id()));
        fs::create_dir(&path).map_err(setup("make", &path))?;
        Ok(Self(path))
    }

    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
