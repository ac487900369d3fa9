//! Sealing of config values at rest: XChaCha20-Poly1305 under a key ring that can be rotated.
//!
//! A sealed value is one byte of format, four of the key's number, a nonce of 24 and the ciphertext with its tag. The tool and
//! the config key are authenticated with it, so that a value moved to another row does not open.

mod ring;

use crate::SealError;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use hythe_model::ToolName;
use ring::Ring;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

/// A sealed value: format, key number, nonce, ciphertext and tag.
pub type Sealed = Vec<u8>;

const FORMAT: u8 = 1;
const NONCE: usize = 24;
const HEAD: usize = 1 + 4;

/// The keys that seal config values. Cheap to clone; clones share a rotation.
#[derive(Clone)]
pub struct KeyRing {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    ring: RwLock<Ring>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// Reads the ring from `sealing.json` in this folder (`keys/` of the data folder), or makes it with a first key.
    pub fn load(dir: &Path) -> Result<Self, SealError> {
        let path = dir.join("sealing.json");
        let ring = Ring::load(&path)?;
        Ok(Self { inner: Arc::new(Inner { path, ring: RwLock::new(ring) }) })
    }

    /// Seals a value under the newest key. It opens for the same tool and config key only.
    pub fn seal(&self, tool: &ToolName, key: &str, value: &SecretString) -> Result<Sealed, SealError> {
        let ring = self.inner.ring.read().unwrap_or_else(PoisonError::into_inner);
        let (number, bytes) = ring.newest();
        let mut nonce = [0u8; NONCE];
        rand::fill(&mut nonce);
        let mut sealed = vec![FORMAT];
        sealed.extend_from_slice(&number.to_be_bytes());
        let aad = associated(&sealed, tool, key);
        let payload = Payload { msg: value.expose_secret().as_bytes(), aad: &aad };
        let cipher = XChaCha20Poly1305::new(&Key::from(*bytes));
        let text = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Refused)?;
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Opens a sealed value.
    pub fn open(&self, tool: &ToolName, key: &str, sealed: &[u8]) -> Result<SecretString, SealError> {
        let (head, rest) = sealed.split_at_checked(HEAD).ok_or(SealError::Refused)?;
        let (nonce, text) = rest.split_at_checked(NONCE).ok_or(SealError::Refused)?;
        let number = number(head).ok_or(SealError::Refused)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| SealError::Refused)?;
        let ring = self.inner.ring.read().unwrap_or_else(PoisonError::into_inner);
        let bytes = ring.get(number).ok_or(SealError::UnknownKey(number))?;
        let aad = associated(head, tool, key);
        let cipher = XChaCha20Poly1305::new(&Key::from(*bytes));
        let opened = cipher.decrypt(&XNonce::from(nonce), Payload { msg: text, aad: &aad });
        let opened = Zeroizing::new(opened.map_err(|_| SealError::Refused)?);
        let text = std::str::from_utf8(&opened).map_err(|_| SealError::Refused)?;
        Ok(SecretString::from(text))
    }

    /// Adds a new newest key, durably, and answers its number. Older keys go on opening what they sealed.
    pub fn rotate(&self) -> Result<u32, SealError> {
        self.change(Ring::rotated)
    }

    /// Whether a value is sealed under an older key, and so should be sealed again.
    pub fn is_outdated(&self, sealed: &[u8]) -> bool {
        let ring = self.inner.ring.read().unwrap_or_else(PoisonError::into_inner);
        sealed.get(..HEAD).and_then(number) != Some(ring.newest().0)
    }

    /// Removes every key but the newest, durably, once nothing is sealed under them; answers the newest one's number.
    pub fn retire_old(&self) -> Result<u32, SealError> {
        self.change(Ring::newest_alone)
    }

    /// What tells this ring from others and opens nothing; another one after a rotation.
    pub fn fingerprint(&self) -> String {
        self.with_newest(fingerprint)
    }

    /// Whether this is the fingerprint of the ring, or was before its last rotation.
    pub fn is_known_by(&self, other: &str) -> bool {
        self.with_any(|key| fingerprint(key) == other)
    }

    /// Something made of the newest key.
    pub(crate) fn with_newest<T>(&self, make: impl FnOnce(&[u8; 32]) -> T) -> T {
        make(self.inner.ring.read().unwrap_or_else(PoisonError::into_inner).newest().1)
    }

    /// Whether this holds with any key, old ones too.
    pub(crate) fn with_any(&self, holds: impl FnMut(&[u8; 32]) -> bool) -> bool {
        self.inner.ring.read().unwrap_or_else(PoisonError::into_inner).all().any(holds)
    }

    fn change(&self, make: impl FnOnce(&Ring) -> Ring) -> Result<u32, SealError> {
        let mut ring = self.inner.ring.write().unwrap_or_else(PoisonError::into_inner);
        let changed = make(&ring);
        changed.save(&self.inner.path)?;
        *ring = changed;
        Ok(ring.newest().0)
    }
}

fn fingerprint(key: &[u8; 32]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(derived(key, "hythe key ring", ""))
}

/// What follows from a key for this use of it, and tells nothing about it.
pub(crate) fn derived(key: &[u8; 32], purpose: &str, of: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    // An HMAC takes keys of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
        mac.update(&[purpose.as_bytes(), b"\0", of.as_bytes()].concat());
        bytes.copy_from_slice(&mac.finalize().into_bytes());
    }
    bytes
}

/// The key's number in the head of a sealed value.
fn number(head: &[u8]) -> Option<u32> {
    let (format, number) = head.split_first()?;
    (*format == FORMAT).then_some(u32::from_be_bytes(number.try_into().ok()?))
}

/// What is authenticated beside the value. Names cannot run into each other: a NUL is in none of them.
fn associated(head: &[u8], tool: &ToolName, key: &str) -> Vec<u8> {
    [b"hythe config value\0", head, b"\0", tool.as_str().as_bytes(), b"\0", key.as_bytes()].concat()
}
