//! Tries what sandboxes need, for [`crate::capability::probe`].
//!
//! Enter at [`run`]: the namespaces exist by then, which is the first thing to know.

use super::enter::Ready;
use super::options::Options;

/// Tries and tells.
pub(super) fn run(_options: &Options, ready: Ready) -> Result<(), (Ready, String)> {
    ready.well("");
    Ok(())
}
