//! Open files that are kept across restarts of the server.

use super::refusal::{Doing, Refusal};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

/// Most files that are kept, and most bytes of a name.
const MOST: usize = 256;

/// The files by name.
#[derive(Debug, Default)]
pub(super) struct Fds(Mutex<BTreeMap<String, OwnedFd>>);

impl Fds {
    pub(super) fn put(&self, name: &str, fd: OwnedFd) -> Result<(), Refusal> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = files.len() >= MOST && !files.contains_key(name);
        if full || name.is_empty() || name.len() > MOST {
            return Err(Refusal::invalid(format!(
                "at most {MOST} open files are kept, with names of 1 to {MOST} bytes"
            )));
        }
        files.insert(name.to_owned(), fd);
        Ok(())
    }

    pub(super) fn take(&self, name: &str) -> Result<Option<OwnedFd>, Refusal> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(name).map(OwnedFd::try_clone).transpose().doing(name)
    }

    /// Closes one; a missing one is no error.
    pub(super) fn drop_one(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}
