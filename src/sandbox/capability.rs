//! What this machine can do for sandboxes, and how to mend what it cannot.
//!
//! Enter at [`probe`].

use crate::HelperOptions;
use serde::{Deserialize, Serialize};

/// Whether a capability is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapabilityState {
    /// It is.
    Pass,
    /// Not wholly; the platform works with less.
    Warning,
    /// It is not, and the platform does not work without.
    Failure,
}

/// One thing that the machine must offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// What, as in `user namespaces`.
    pub name: String,
    /// Whether it is there.
    pub state: CapabilityState,
    /// What was seen.
    pub detail: String,
    /// What to do, where it is not there.
    pub mend: Option<String>,
}

/// Looks at everything, by doing it where that is cheap. Blocks for up to some seconds; makes and removes a folder
/// below the helper's root.
pub fn probe(options: &HelperOptions) -> Vec<Capability> {
    let _ = options;
    todo!()
}
