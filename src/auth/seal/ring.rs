//! The key file: numbered keys, the last one the newest.

use crate::SealError;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

type KeyBytes = Zeroizing<[u8; 32]>;

/// At least one key, oldest first.
pub(super) struct Ring {
    keys: Vec<(u32, KeyBytes)>,
}

/// The file's form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    number: u32,
    key: String,
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

fn random() -> KeyBytes {
    let mut bytes = Zeroizing::new([0u8; 32]);
    rand::fill(bytes.as_mut_slice());
    bytes
}

impl Ring {
    /// Reads the file, or makes it with one key.
    pub(super) fn load(path: &Path) -> Result<Self, SealError> {
        let fault = |reason: String| SealError::Read { path: path.to_owned(), reason };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let ring = Self { keys: vec![(1, random())] };
                ring.save(path)?;
                return Ok(ring);
            }
            Err(error) => return Err(fault(error.to_string())),
        };
        let mode = file.metadata().map_err(|error| fault(error.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(SealError::Exposed { path: path.to_owned() });
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(|error| fault(error.to_string()))?;
        Self::parse(&text).map_err(fault)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let stored: Stored = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut keys: Vec<(u32, KeyBytes)> = Vec::new();
        for stored in &stored.keys {
            let bytes =
                Zeroizing::new(BASE64_STANDARD.decode(&stored.key).map_err(|error| error.to_string())?);
            let bytes: [u8; 32] =
                bytes.as_slice().try_into().map_err(|_| "a key has not 32 bytes".to_owned())?;
            if keys.last().is_some_and(|(last, _)| *last >= stored.number) {
                return Err("the keys are not in order".to_owned());
            }
            keys.push((stored.number, Zeroizing::new(bytes)));
        }
        if keys.is_empty() { Err("there is no key in it".to_owned()) } else { Ok(Self { keys }) }
    }

    /// Replaces the file in one step; it is on the disk afterwards.
    pub(super) fn save(&self, path: &Path) -> Result<(), SealError> {
        let fault = |reason: String| SealError::Write { path: path.to_owned(), reason };
        let stored = |(number, key): &(u32, KeyBytes)| StoredKey {
            number: *number,
            key: BASE64_STANDARD.encode(key.as_slice()),
        };
        let stored = Stored { keys: self.keys.iter().map(stored).collect() };
        let text =
            Zeroizing::new(serde_json::to_string_pretty(&stored).map_err(|error| fault(error.to_string()))?);
        replace(path, text.as_bytes()).map_err(|error| fault(error.to_string()))
    }

    pub(super) fn newest(&self) -> (u32, &[u8; 32]) {
        let (number, key) = &self.keys[self.keys.len() - 1];
        (*number, key)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.keys.iter().map(|(_, key)| &**key)
    }

    pub(super) fn get(&self, number: u32) -> Option<&[u8; 32]> {
        self.keys.iter().find(|(own, _)| *own == number).map(|(_, key)| &**key)
    }

    /// With one more key.
    pub(super) fn rotated(&self) -> Self {
        let mut keys = self.keys.clone();
        keys.push((self.newest().0 + 1, random()));
        Self { keys }
    }

    /// With the newest key alone.
    pub(super) fn newest_alone(&self) -> Self {
        Self { keys: self.keys[self.keys.len() - 1..].to_vec() }
    }
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(dir)?.sync_all()
}
