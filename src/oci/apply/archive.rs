//! Reads a tar archive that nobody vouches for.
//!
//! Understands ustar, PAX (path, linkpath, size, uid, gid, mtime) and GNU long names; refuses sparse files. Nothing is
//! allocated by what a header claims: extension headers are bounded, contents are streamed.

use super::{ApplyError, refused};
use crate::digest::DigestReader;
use hythe_model::Digest;
use std::borrow::Cow;
use std::io::{self, Read};
use tar::EntryType;

const BLOCK: u64 = 512;
/// Most bytes of the extension headers of one entry.
const MAX_EXTENSION: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberKind {
    File,
    Dir,
    Symlink,
    HardLink,
    Fifo,
    Device,
}

/// An entry, its content still unread.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: MemberKind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
}

/// What extension headers say about the entry after them.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    bytes: u64,
}

/// The archive, read up to somewhere.
pub(super) struct Archive<R> {
    reader: DigestReader<R>,
    max_bytes: u64,
    /// Bytes of the current entry's content that are unread.
    left: u64,
    /// Bytes between that content and the next header.
    padding: u64,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(reader: DigestReader<R>, max_bytes: u64) -> Self {
        Self { reader, max_bytes, left: 0, padding: 0 }
    }

    /// The next entry; what is unread of the one before is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ApplyError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header.entry_size().map_err(malformed)?;
            let kind = header.entry_type();
            match kind {
                EntryType::XHeader => {
                    let data = self.extension(size, &mut extensions)?;
                    extensions.read_pax(&data)?;
                }
                EntryType::GNULongName => {
                    extensions.path = Some(trim_nul(self.extension(size, &mut extensions)?));
                }
                EntryType::GNULongLink => {
                    extensions.link = Some(trim_nul(self.extension(size, &mut extensions)?));
                }
                EntryType::XGlobalHeader => {
                    self.extension(size, &mut extensions)?;
                }
                _ => return self.member(&header, extensions, size).map(Some),
            }
        }
    }

    /// Reads content of the current entry; nothing when it is all read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ApplyError> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let count = read(&mut self.reader, &mut buffer[..most])?;
        if count == 0 {
            return Err(ApplyError::Truncated);
        }
        self.left -= count as u64;
        Ok(count)
    }

    /// Reads to the end of the stream, and says its digest and length.
    pub(super) fn finish(mut self) -> Result<(Digest, u64), ApplyError> {
        let mut buffer = vec![0; 64 << 10];
        while read(&mut self.reader, &mut buffer)? > 0 {
            self.check_size(0)?;
        }
        Ok(self.reader.finish())
    }

    fn member(&mut self, header: &tar::Header, ext: Extensions, size: u64) -> Result<Member, ApplyError> {
        let path = ext.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = ext.link.or_else(|| header.link_name_bytes().map(Cow::into_owned)).unwrap_or_default();
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => MemberKind::Dir,
            EntryType::Regular | EntryType::Continuous => MemberKind::File,
            EntryType::Directory => MemberKind::Dir,
            EntryType::Symlink => MemberKind::Symlink,
            EntryType::Link => MemberKind::HardLink,
            EntryType::Fifo => MemberKind::Fifo,
            EntryType::Char | EntryType::Block => MemberKind::Device,
            EntryType::GNUSparse => return Err(refused(&path, "sparse files are not supported")),
            _ => return Err(refused(&path, "its type is unknown")),
        };
        // Only files have content: some writers put a size on links all the same, and no data.
        let size = if kind == MemberKind::File { ext.size.unwrap_or(size) } else { 0 };
        self.expect(size)?;
        let id = |ext: Option<u64>, plain: io::Result<u64>| {
            let value = ext.map_or_else(|| plain.map_err(malformed), Ok)?;
            u32::try_from(value).map_err(|_| refused(&path, "its owner is out of range"))
        };
        let uid = id(ext.uid, header.uid())?;
        let gid = id(ext.gid, header.gid())?;
        let mode = header.mode().map_err(malformed)? & 0o7777;
        let plain = || i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
        let mtime = ext.mtime.unwrap_or_else(plain);
        Ok(Member { path, link, kind, mode, uid, gid, mtime })
    }

    /// Reads a header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<tar::Header>, ApplyError> {
        self.check_size(0)?;
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match read(&mut self.reader, &mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(ApplyError::Truncated),
                count => filled += count,
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let blank = 8 * u32::from(b' ');
        let sum: u32 =
            block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + blank;
        if header.cksum().map_err(malformed)? != sum {
            return Err(ApplyError::Malformed("a header's checksum is wrong".to_owned()));
        }
        Ok(Some(header))
    }

    /// Makes the next `size` bytes the current content.
    fn expect(&mut self, size: u64) -> Result<(), ApplyError> {
        self.check_size(size)?;
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
        Ok(())
    }

    fn check_size(&self, more: u64) -> Result<(), ApplyError> {
        match self.reader.bytes_read().checked_add(more) {
            Some(total) if total <= self.max_bytes => Ok(()),
            _ => Err(ApplyError::TooLarge(self.max_bytes)),
        }
    }

    fn extension(&mut self, size: u64, extensions: &mut Extensions) -> Result<Vec<u8>, ApplyError> {
        extensions.bytes = extensions.bytes.saturating_add(size.max(BLOCK));
        if extensions.bytes > MAX_EXTENSION {
            return Err(ApplyError::Malformed("an entry's extension headers are too long".to_owned()));
        }
        self.expect(size)?;
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        let mut filled = 0;
        while filled < data.len() {
            filled += self.read(&mut data[filled..])?;
        }
        Ok(data)
    }

    fn skip(&mut self) -> Result<(), ApplyError> {
        let mut buffer = [0; 4096];
        while self.left > 0 {
            self.read(&mut buffer)?;
        }
        self.left = std::mem::take(&mut self.padding);
        while self.left > 0 {
            self.read(&mut buffer)?;
        }
        Ok(())
    }
}

impl Extensions {
    fn read_pax(&mut self, mut data: &[u8]) -> Result<(), ApplyError> {
        let broken = || ApplyError::Malformed("a PAX header cannot be read".to_owned());
        while !data.is_empty() {
            let space = data.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
            let length: usize = parse(&data[..space]).ok_or_else(broken)?;
            let record =
                data.get(space + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(broken)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
            self.take(&record[..equals], &record[equals + 1..]).ok_or_else(broken)?;
            data = &data[length..];
        }
        Ok(())
    }

    /// Takes a record that matters; `None` where its value makes no sense.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(parse(value)?),
            b"uid" => self.uid = Some(parse(value)?),
            b"gid" => self.gid = Some(parse(value)?),
            b"mtime" => {
                let whole = value.split(|byte| *byte == b'.').next()?;
                self.mtime = Some(parse(whole)?);
            }
            _ if key.starts_with(b"GNU.sparse.") => return None,
            _ => {}
        }
        Some(())
    }
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn trim_nul(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

fn malformed(error: impl std::fmt::Display) -> ApplyError {
    ApplyError::Malformed(error.to_string())
}

fn read(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ApplyError> {
    loop {
        match reader.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(ApplyError::Truncated),
            other => return other.map_err(ApplyError::Read),
        }
    }
}
