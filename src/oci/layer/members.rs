//! Cuts the archive into pieces of a fixed size and compresses each on its own, several at once.
//!
//! A piece is a gzip member or a Zstandard frame, and their concatenation is a valid stream (RFC 1952, section 2.2; RFC
//! 8878, section 3). As pieces are cut by size alone, the bytes are the same with any number of threads. At most
//! `threads + 2` pieces are in memory.

use super::{Compression, LayerError};
use crate::digest::{DigestWriter, Hasher};
use hythe_model::Digest;
use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

/// Uncompressed bytes of a piece.
pub(crate) const MEMBER: usize = 1 << 20;

/// Refuses a level that the compressor does not have.
pub(crate) fn check(compression: Compression) -> Result<(), LayerError> {
    let known = match compression {
        Compression::Gzip { level } => (1..=12).contains(&level),
        Compression::Zstd { level } => (1..=19).contains(&level),
        Compression::None => true,
    };
    if known { Ok(()) } else { Err(LayerError::Level(compression)) }
}

/// What [`Members::finish`] has counted.
pub(crate) struct Written {
    pub(crate) diff_id: Digest,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) uncompressed: u64,
}

/// The stream of pieces.
pub(crate) struct Members<'out, W: Write> {
    out: DigestWriter<&'out mut W>,
    diff: Hasher,
    uncompressed: u64,
    buffer: Vec<u8>,
    filled: usize,
    spare: Vec<Vec<u8>>,
    pool: Pool,
}

enum Pool {
    Inline(Codec),
    Threads { jobs: SyncSender<Job>, pending: VecDeque<Receiver<Done>>, window: usize },
}

struct Job {
    raw: Vec<u8>,
    filled: usize,
    done: SyncSender<Done>,
}

struct Done {
    raw: Vec<u8>,
    packed: Result<Vec<u8>, LayerError>,
}

impl<'out, W: Write> Members<'out, W> {
    /// Starts the compressing threads in `scope`; one thread means this one.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        compression: Compression,
        threads: usize,
        out: &'out mut W,
    ) -> Result<Self, LayerError> {
        let pool = if threads < 2 || compression == Compression::None {
            Pool::Inline(Codec::new(compression)?)
        } else {
            let (jobs, queue) = sync_channel::<Job>(threads);
            let queue = Arc::new(Mutex::new(queue));
            for _ in 0..threads {
                let (codec, queue) = (Codec::new(compression)?, Arc::clone(&queue));
                scope.spawn(move || work(codec, &queue));
            }
            Pool::Threads { jobs, pending: VecDeque::new(), window: threads + 1 }
        };
        Ok(Self {
            out: DigestWriter::new(out),
            diff: Hasher::default(),
            uncompressed: 0,
            buffer: vec![0; MEMBER],
            filled: 0,
            spare: Vec::new(),
            pool,
        })
    }

    /// Room for more bytes, never empty; say with [`Self::advance`] how many were put there.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// Takes the first `count` bytes of [`Self::space`].
    pub(crate) fn advance(&mut self, count: usize) -> Result<(), LayerError> {
        self.filled += count;
        if self.filled == MEMBER { self.flush() } else { Ok(()) }
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<(), LayerError> {
        while !bytes.is_empty() {
            let space = self.space();
            let count = bytes.len().min(space.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.advance(count)?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Hashes the piece at hand and sends it to be compressed.
    fn flush(&mut self) -> Result<(), LayerError> {
        self.diff.update(&self.buffer[..self.filled]);
        self.uncompressed += self.filled as u64;
        let filled = std::mem::take(&mut self.filled);
        if let Pool::Inline(codec) = &mut self.pool {
            let raw = &self.buffer[..filled];
            return match codec {
                Codec::None => self.out.write_all(raw),
                codec => self.out.write_all(&codec.encode(raw)?),
            }
            .map_err(LayerError::Write);
        }
        while matches!(&self.pool, Pool::Threads { pending, window, .. } if pending.len() >= *window) {
            self.collect()?;
        }
        let next = self.spare.pop().unwrap_or_else(|| vec![0; MEMBER]);
        let raw = std::mem::replace(&mut self.buffer, next);
        if let Pool::Threads { jobs, pending, .. } = &mut self.pool {
            let (done, result) = sync_channel(1);
            jobs.send(Job { raw, filled, done }).map_err(|_| stopped())?;
            pending.push_back(result);
        }
        Ok(())
    }

    /// Writes out the oldest piece, once it is compressed.
    fn collect(&mut self) -> Result<(), LayerError> {
        let Pool::Threads { pending, .. } = &mut self.pool else { return Ok(()) };
        let Some(result) = pending.pop_front() else { return Ok(()) };
        let Done { raw, packed } = result.recv().map_err(|_| stopped())?;
        self.spare.push(raw);
        self.out.write_all(&packed?).map_err(LayerError::Write)
    }

    /// Writes out everything that is left.
    pub(crate) fn finish(mut self) -> Result<Written, LayerError> {
        if self.filled > 0 {
            self.flush()?;
        }
        while matches!(&self.pool, Pool::Threads { pending, .. } if !pending.is_empty()) {
            self.collect()?;
        }
        self.out.flush().map_err(LayerError::Write)?;
        let (digest, size, _) = self.out.finish();
        Ok(Written { diff_id: self.diff.finish(), digest, size, uncompressed: self.uncompressed })
    }
}

fn stopped() -> LayerError {
    LayerError::Compress("a compressing thread stopped".to_owned())
}

fn work(mut codec: Codec, queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { raw, filled, done }) = job else { return };
        let packed = codec.encode(&raw[..filled]);
        // Nobody listens where the writer has failed meanwhile.
        let _ = done.send(Done { raw, packed });
    }
}

enum Codec {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
    None,
}

impl Codec {
    fn new(compression: Compression) -> Result<Self, LayerError> {
        Ok(match compression {
            Compression::Gzip { level } => {
                let level = libdeflater::CompressionLvl::new(level.into());
                Self::Gzip(libdeflater::Compressor::new(level.map_err(|_| LayerError::Level(compression))?))
            }
            Compression::Zstd { level } => {
                let mut codec = zstd::bulk::Compressor::new(level.into()).map_err(failed)?;
                codec.include_checksum(true).map_err(failed)?;
                Self::Zstd(codec)
            }
            Compression::None => Self::None,
        })
    }

    fn encode(&mut self, raw: &[u8]) -> Result<Vec<u8>, LayerError> {
        match self {
            Self::Gzip(codec) => {
                let mut packed = vec![0; codec.gzip_compress_bound(raw.len())];
                let size = codec.gzip_compress(raw, &mut packed).map_err(failed)?;
                packed.truncate(size);
                Ok(packed)
            }
            Self::Zstd(codec) => codec.compress(raw).map_err(failed),
            Self::None => Ok(raw.to_vec()),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> LayerError {
    LayerError::Compress(error.to_string())
}
