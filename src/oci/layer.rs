//! Writes a layer in a single pass: walk, archive, hash, compress, hash, out.
//!
//! Enter at [`write_layer`]. The bytes depend on the spec and the files alone: entries in lexical order under headers of
//! our own (the bytes of the CNB reference implementation's exporter, so that equal layers have equal diff ids), and
//! compressed in members of a fixed size, so that neither the clock nor the number of threads shows.
//! A layer is never held in memory and never written twice.

use crate::fingerprint::{Fingerprint, Fingerprinter};
use crate::spec::LayerSpec;
use hythe_model::Digest;
use hythe_model::render::size;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::PathBuf;

pub(crate) mod header;
pub(crate) mod members;
pub(crate) mod pattern;
pub(crate) mod walk;

use header::{Header, Type};
use members::Members;
use walk::{Entry, Kind, Sink};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// gzip by libdeflate.
    Gzip {
        /// 1 (fast) to 12 (small).
        level: u8,
    },
    /// Zstandard.
    Zstd {
        /// 1 (fast) to 19 (small).
        level: u8,
    },
    /// A plain tar archive.
    None,
}

/// How far a layer may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBounds {
    /// Most bytes of all files, as they are read: holes count, and so does every name of a file.
    pub max_bytes: u64,
    /// Most entries.
    pub max_entries: u64,
}

impl Default for LayerBounds {
    /// As far as what is written can be applied again: 64 GiB, 4 million entries.
    fn default() -> Self {
        Self { max_bytes: 64 << 30, max_entries: 4_000_000 }
    }
}

/// A layer that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Digest of what was written out.
    pub digest: Digest,
    /// Bytes written out.
    pub size: u64,
    /// Bytes of the uncompressed archive.
    pub uncompressed: u64,
    /// Entries in it, folders and links among them.
    pub files: u64,
    /// The fingerprint of the spec as it was read; equals what [`crate::fingerprint()`] gives while nothing changes.
    pub fingerprint: Fingerprint,
}

/// Why no layer was written. What went to the output until then is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A source could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file changed while it was read.
    #[error("{} changed while it was being read", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// A device node, which no layer of ours may hold.
    #[error("{} is a device node", path.display())]
    Device {
        /// Which.
        path: PathBuf,
    },
    /// Folders nested beyond all reason.
    #[error("{} lies more than {} folders deep", path.display(), walk::MAX_DEPTH)]
    TooDeep {
        /// Which.
        path: PathBuf,
    },
    /// A folder with more names than are held in memory.
    #[error(
        "{} has more than {} entries, or their names are longer than {} MiB in all", path.display(),
        walk::MAX_ENTRIES, walk::MAX_NAMES >> 20
    )]
    Crowded {
        /// Which.
        path: PathBuf,
    },
    /// A path in the image that cannot be written.
    #[error("`{path}` cannot be a path in an image: {why}")]
    Path {
        /// Which.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// More bytes of files than allowed.
    #[error("The files to be written have more than {}", size(*.0))]
    TooLarge(u64),
    /// More entries than allowed.
    #[error("There are more than {0} entries to be written")]
    TooMany(u64),
    /// No such compression level.
    #[error("{0:?} has no such level")]
    Level(Compression),
    /// The compressor failed.
    #[error("the layer cannot be compressed: {0}")]
    Compress(String),
    /// The output could not be written.
    #[error("the layer cannot be written")]
    Write(#[source] io::Error),
}

/// Writes the layer of `spec` to `out`, compressing on up to `threads` threads (0: as many as there are cores).
pub fn write_layer(
    spec: &LayerSpec,
    compression: Compression,
    out: &mut impl Write,
    threads: usize,
) -> Result<LayerInfo, LayerError> {
    write_layer_within(spec, compression, out, threads, LayerBounds::default())
}

/// Writes a layer as [`write_layer`] does, unless it goes beyond these bounds.
pub fn write_layer_within(
    spec: &LayerSpec,
    compression: Compression,
    out: &mut impl Write,
    threads: usize,
    bounds: LayerBounds,
) -> Result<LayerInfo, LayerError> {
    members::check(compression)?;
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        some => some,
    };
    std::thread::scope(|scope| {
        let members = Members::start(scope, compression, threads, out)?;
        let print = Fingerprinter::new(spec);
        let mut archive = Archive { members, print, bounds, bytes: 0, files: 0, header: Vec::new() };
        walk::walk(spec, &mut archive)?;
        archive.finish()
    })
}

/// The tar archive being written.
struct Archive<'out, W: Write> {
    members: Members<'out, W>,
    print: Fingerprinter,
    bounds: LayerBounds,
    bytes: u64,
    files: u64,
    header: Vec<u8>,
}

impl<W: Write> Archive<'_, W> {
    fn finish(mut self) -> Result<LayerInfo, LayerError> {
        self.members.write(&[0; 2 * header::BLOCK])?;
        let written = self.members.finish()?;
        Ok(LayerInfo {
            diff_id: written.diff_id,
            digest: written.digest,
            size: written.size,
            uncompressed: written.uncompressed,
            files: self.files,
            fingerprint: self.print.finish(),
        })
    }

    /// Counts an entry before anything of it is read.
    fn count(&mut self, size: u64) -> Result<(), LayerError> {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.files > self.bounds.max_entries {
            return Err(LayerError::TooMany(self.bounds.max_entries));
        }
        if self.bytes > self.bounds.max_bytes {
            return Err(LayerError::TooLarge(self.bounds.max_bytes));
        }
        Ok(())
    }

    /// Copies a file of exactly the size that its header says.
    fn copy(&mut self, file: &walk::HostFile<'_>) -> Result<(), LayerError> {
        let open = file.open()?;
        let mut left = file.size();
        while left > 0 {
            let space = self.members.space();
            let most = usize::try_from(left).map_or(space.len(), |n| n.min(space.len()));
            let read = retry(|| rustix::io::read(&open, &mut space[..most])).map_err(|e| file.failed(e))?;
            if read == 0 {
                return Err(LayerError::Changed { path: file.shown() });
            }
            self.members.advance(read)?;
            left -= read as u64;
        }
        match retry(|| rustix::io::read(&open, &mut [0; 1])).map_err(|e| file.failed(e))? {
            0 => self.pad(file.size()),
            _ => Err(LayerError::Changed { path: file.shown() }),
        }
    }

    fn pad(&mut self, size: u64) -> Result<(), LayerError> {
        let over = usize::try_from(size % header::BLOCK as u64).unwrap_or(0);
        if over == 0 { Ok(()) } else { self.members.write(&[0; header::BLOCK][over..]) }
    }
}

impl<W: Write> Sink for Archive<'_, W> {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), LayerError> {
        self.print.entry(entry)?;
        let (kind, link, size) = match &entry.kind {
            Kind::Dir => (Type::Dir, b"".as_slice(), 0),
            Kind::Symlink(link) => (Type::Symlink, *link, 0),
            Kind::Fifo => (Type::Fifo, b"".as_slice(), 0),
            Kind::Bytes(content) => (Type::File, b"".as_slice(), content.len() as u64),
            Kind::Host(file) => (Type::File, b"".as_slice(), file.size()),
        };
        self.count(size)?;
        let header =
            Header { name: entry.path, kind, link, size, mode: entry.mode, uid: entry.uid, gid: entry.gid };
        self.header.clear();
        header.write(&mut self.header);
        self.members.write(&self.header)?;
        match &entry.kind {
            Kind::Bytes(content) => {
                self.members.write(content)?;
                self.pad(size)
            }
            Kind::Host(file) => self.copy(file),
            _ => Ok(()),
        }
    }
}

/// Repeats a call that a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
