//! Trees to layers: normalised, compressed, hashed in one pass.
//!
//! Enter at [`write_layer`]. The same tree gives the same bytes, on any machine and with any number of threads.

use crate::image::StackLayer;
use crate::tree::{Entry, Kind, Tree};
use hythe_oci::DigestWriter;
use libdeflater::{CompressionLvl, Compressor};
use std::collections::HashMap;
use std::io::{self, Write};

/// The time of every entry, as in all layers of the platform: 1980-01-01T00:00:01Z.
pub(crate) const EPOCH: u64 = 315_532_801;
/// Uncompressed bytes of a gzip member; fixed, so that the bytes do not depend on the number of threads.
const MEMBER: usize = 1 << 20;
/// Compression of base layers, which are written rarely and read often.
const LEVEL: i32 = 6;

/// Writes what `tree` has beyond `base` as a layer: new and changed entries, and whiteouts for those that went.
pub(crate) fn write_layer(tree: &Tree, base: &Tree, out: &mut impl Write) -> io::Result<StackLayer> {
    let gzip = Gzip::new(DigestWriter::new(out))?;
    let mut tar = tar::Builder::new(DigestWriter::new(gzip));
    let mut first = HashMap::new();
    for path in gone(tree, base) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let path = if folder.is_empty() { format!(".wh.{name}") } else { format!("{folder}/.wh.{name}") };
        tar.append_data(
            &mut header(tar::EntryType::Regular, &Entry::folder(0o644, 0, 0)),
            path,
            io::empty(),
        )?;
    }
    for (path, entry) in &tree.0 {
        if !base.0.get(path).is_some_and(|old| old.same(entry)) {
            append(&mut tar, path, entry, &mut first)?;
        }
    }
    let (diff_id, _, gzip) = tar.into_inner()?.finish();
    let (digest, size, _) = gzip.finish()?.finish();
    Ok(StackLayer { diff_id, digest, size })
}

/// Paths of `base` that `tree` lacks, without those below another such path.
fn gone<'a>(tree: &Tree, base: &'a Tree) -> Vec<&'a str> {
    let mut gone: Vec<&str> = Vec::new();
    for path in base.0.keys().filter(|path| !tree.0.contains_key(*path)) {
        let below = |above: &&str| path.strip_prefix(*above).is_some_and(|rest| rest.starts_with('/'));
        if !gone.last().is_some_and(below) {
            gone.push(path);
        }
    }
    gone
}

/// Writes one entry. Bytes that an earlier entry of this layer has become a hard link to it.
fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    entry: &Entry,
    first: &mut HashMap<(usize, u64), String>,
) -> io::Result<()> {
    match &entry.kind {
        Kind::Folder => {
            tar.append_data(&mut header(tar::EntryType::Directory, entry), format!("{path}/"), io::empty())
        }
        Kind::Symlink(to) => tar.append_link(&mut header(tar::EntryType::Symlink, entry), path, to),
        Kind::File(content) => {
            let earlier = first.get(&content.identity()).filter(|_| content.bytes > 0);
            if let Some(target) = earlier {
                return tar.append_link(&mut header(tar::EntryType::Link, entry), path, target);
            }
            first.insert(content.identity(), path.to_owned());
            let mut header = header(tar::EntryType::Regular, entry);
            header.set_size(content.bytes);
            tar.append_data(&mut header, path, content.reader()?)
        }
    }
}

fn header(kind: tar::EntryType, entry: &Entry) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(EPOCH);
    header.set_size(0);
    header
}

/// A gzip stream of members of a fixed size, compressed on all cores.
struct Gzip<W> {
    out: W,
    buffer: Vec<u8>,
    batch: usize,
    level: CompressionLvl,
}

impl<W: Write> Gzip<W> {
    fn new(out: W) -> io::Result<Self> {
        let level = CompressionLvl::new(LEVEL).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { out, buffer: Vec::with_capacity(threads * MEMBER), batch: threads * MEMBER, level })
    }

    /// Compresses what is there, a thread a member.
    fn compress(&mut self) -> io::Result<()> {
        let level = self.level;
        let members: Vec<io::Result<Vec<u8>>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                self.buffer.chunks(MEMBER).map(|piece| scope.spawn(move || member(piece, level))).collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|_| Err(io::Error::other("it panicked"))))
                .collect()
        });
        for member in members {
            self.out.write_all(&member?)?;
        }
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        self.compress()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.batch - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == self.batch {
            self.compress()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn member(piece: &[u8], level: CompressionLvl) -> io::Result<Vec<u8>> {
    let mut compressor = Compressor::new(level);
    let mut out = vec![0; compressor.gzip_compress_bound(piece.len())];
    let bytes = compressor.gzip_compress(piece, &mut out).map_err(io::Error::other)?;
    out.truncate(bytes);
    Ok(out)
}

#[cfg(test)]
mod tests;
