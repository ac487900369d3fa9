//! Knows an unchanged layer without reading a file.
//!
//! Enter at [`fingerprint()`]. It costs a walk of `stat` calls: any write to a file moves its `ctime`, which no program
//! can set back, so that equal size, times and inode mean equal content.

use crate::layer::walk::{self, Entry, Kind, Sink};
use crate::{LayerError, LayerSpec};
use serde::{Deserialize, Serialize};

/// What a walk of `stat` calls saw: equal fingerprints mean an equal layer. Sources count by what is in them, not by
/// where they are, so that a tree that moved whole still has its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The fingerprint of `spec` as the files are now.
pub fn fingerprint(spec: &LayerSpec) -> Result<Fingerprint, LayerError> {
    let mut print = Fingerprinter::new(spec);
    walk::walk(spec, &mut print)?;
    Ok(print.finish())
}

/// A fingerprint in the making.
pub(crate) struct Fingerprinter {
    hasher: blake3::Hasher,
    record: Vec<u8>,
}

impl Fingerprinter {
    /// For this spec; what it says shows in its entries.
    pub(crate) fn new(_spec: &LayerSpec) -> Self {
        let mut hasher = blake3::Hasher::new();
        // Changes when the bytes of equal entries do, so that layers written by an older version are written anew.
        hasher.update(b"hythe layer 1\n");
        Self { hasher, record: Vec::with_capacity(256) }
    }

    pub(crate) fn finish(self) -> Fingerprint {
        Fingerprint(self.hasher.finalize().to_hex().to_string())
    }

    fn number(&mut self, value: impl Into<i128>) {
        self.record.extend_from_slice(&value.into().to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.record.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.record.extend_from_slice(bytes);
    }
}

impl Sink for Fingerprinter {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), LayerError> {
        self.record.clear();
        self.bytes(entry.path);
        for value in [entry.mode, entry.uid, entry.gid] {
            self.number(value);
        }
        match &entry.kind {
            Kind::Dir => self.record.push(b'd'),
            Kind::Fifo => self.record.push(b'p'),
            Kind::Symlink(link) => {
                self.record.push(b'l');
                self.bytes(link);
            }
            Kind::Bytes(content) => {
                self.record.push(b'b');
                self.bytes(blake3::hash(content).as_bytes());
            }
            Kind::Host(file) => {
                self.record.push(b'f');
                let stat = file.stat;
                self.number(stat.st_size);
                self.number(stat.st_ino);
                self.number(stat.st_mtime);
                self.number(stat.st_mtime_nsec);
                self.number(stat.st_ctime);
                self.number(stat.st_ctime_nsec);
            }
        }
        self.hasher.update(&self.record);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
