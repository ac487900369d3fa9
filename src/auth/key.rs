//! Public SSH keys, parsed and judged.

use crate::KeyError;

/// A public key that is good enough to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: String,
    fingerprint: String,
    openssh: String,
    comment: String,
}

impl PublicKey {
    /// Reads a key in OpenSSH's one-line form, as in `ssh-ed25519 AAAA... name@host`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        todo!("{text}")
    }

    /// Judges a key that arrived over the wire.
    pub fn check(key: &russh::keys::PublicKey) -> Result<Self, KeyError> {
        todo!("{key:?}")
    }

    /// `SHA256:` and unpadded base64, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// As in `ssh-ed25519`.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// OpenSSH's one-line form, without the comment.
    pub fn openssh(&self) -> &str {
        &self.openssh
    }

    /// The comment that came with it; a good title.
    pub fn comment(&self) -> &str {
        &self.comment
    }
}
