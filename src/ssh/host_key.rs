//! The key by which clients know this server.

use crate::SshError;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The server's own key.
#[derive(Clone)]
pub struct HostKey {
    pub(crate) key: PrivateKey,
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostKey").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl HostKey {
    /// Reads the key, or makes an Ed25519 one that only its owner can read. A file that is there and cannot be read is
    /// an error: clients would take a new key for an attack.
    pub fn open_or_create(path: &Path) -> Result<Self, SshError> {
        let failed = |why: String| SshError::HostKey { path: path.to_owned(), why };
        match fs::read_to_string(path) {
            Ok(text) => {
                let key = PrivateKey::from_openssh(&text).map_err(|error| failed(error.to_string()))?;
                Ok(Self { key })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn create(path: &Path) -> Result<Self, SshError> {
        let failed = |why: String| SshError::HostKey { path: path.to_owned(), why };
        let mut key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)
            .map_err(|error| failed(error.to_string()))?;
        key.set_comment("hythe");
        let text = key.to_openssh(LineEnding::LF).map_err(|error| failed(error.to_string()))?;
        let fresh = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let _ = fs::remove_file(&fresh);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, path)?;
            fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| failed(error.to_string()))?;
        Ok(Self { key })
    }

    /// `SHA256:` and unpadded base64, as a client shows it at the first connection.
    pub fn fingerprint(&self) -> String {
        self.key.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// The public key as in a line of `known_hosts`, after the host's name.
    pub fn public_line(&self) -> String {
        self.key.public_key().to_openssh().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ssh_host_ed25519");
        let first = HostKey::open_or_create(&path).unwrap();
        let second = HostKey::open_or_create(&path).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert!(first.fingerprint().starts_with("SHA256:"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "not a key").unwrap();
        assert!(HostKey::open_or_create(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a key");
    }
}
