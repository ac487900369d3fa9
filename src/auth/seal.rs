//! Sealing of config values at rest: XChaCha20-Poly1305 under a key ring that can be rotated.

use crate::SealError;
use hythe_model::ToolName;
use secrecy::SecretString;
use std::path::Path;

/// A sealed value: format, key number, nonce, ciphertext and tag.
pub type Sealed = Vec<u8>;

/// The keys that seal config values. Cheap to clone; clones share a rotation.
#[derive(Clone)]
pub struct KeyRing {}

impl KeyRing {
    /// Reads the ring from `sealing.json` in this folder (`keys/` of the data folder), or makes it with a first key.
    pub fn load(dir: &Path) -> Result<Self, SealError> {
        todo!("{dir:?}")
    }

    /// Seals a value under the newest key. It opens for the same tool and config key only.
    pub fn seal(&self, tool: &ToolName, key: &str, value: &SecretString) -> Result<Sealed, SealError> {
        let _ = value;
        todo!("{tool} {key}")
    }

    /// Opens a sealed value.
    pub fn open(&self, tool: &ToolName, key: &str, sealed: &[u8]) -> Result<SecretString, SealError> {
        todo!("{tool} {key} {}", sealed.len())
    }

    /// Adds a new newest key, durably, and answers its number. Older keys go on opening what they sealed.
    pub fn rotate(&self) -> Result<u32, SealError> {
        todo!()
    }

    /// Whether a value is sealed under an older key, and so should be sealed again.
    pub fn is_outdated(&self, sealed: &[u8]) -> bool {
        todo!("{}", sealed.len())
    }

    /// Removes every key but the newest, once nothing is sealed under them.
    pub fn retire_old(&self) -> Result<(), SealError> {
        todo!()
    }
}
