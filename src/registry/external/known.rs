//! Which repository of the registry has a blob, as far as is remembered: whoever has it there need not be sent it.

use crate::Repository;
use hythe_model::Digest;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Blobs that are remembered.
const MOST: usize = 4096;

/// Blobs and where they were seen last. Forgotten with the process: then they are sent once more.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Digest, Repository>>);

impl Known {
    /// Where a blob can be had, other than here.
    pub(super) fn elsewhere(&self, digest: &Digest, here: &Repository) -> Option<Repository> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(digest).filter(|repository| *repository != here).cloned()
    }

    /// A repository has this blob.
    pub(super) fn add(&self, digest: &Digest, repository: &Repository) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(digest) {
            all.clear();
        }
        all.insert(digest.clone(), repository.clone());
    }
}
