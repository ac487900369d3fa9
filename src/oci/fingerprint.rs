//! Knows an unchanged layer without reading a file.
//!
//! Enter at [`fingerprint`].

use crate::{LayerError, LayerSpec};
use serde::{Deserialize, Serialize};

/// What a walk of `stat` calls saw: equal fingerprints of the same spec mean an equal layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

/// The fingerprint of `spec` as the files are now.
pub fn fingerprint(spec: &LayerSpec) -> Result<Fingerprint, LayerError> {
    let _ = spec;
    todo!()
}
