//! The files that the helper writes for one instance: `0000000001.log` and so on, the highest being written.
//!
//! A line of exactly [`CUT`] bytes is a piece of a longer one, whose next piece is the next line of the same stream. Pieces
//! are put together again before they are masked, so that no secret hides in a cut.

use crate::runtime_log::SourceAt;
use crate::{EventsError, LineSource, NewLine};
use jiff::Timestamp;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where the helper cuts lines, in bytes.
const CUT: usize = 16 << 10;
/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// Where the reading of an instance's files stands.
pub(super) struct InstanceFiles {
    dir: PathBuf,
    number: u64,
    offset: u64,
    open: Option<(u64, File)>,
}

/// Lines that were read, and where to read on once they are stored.
pub(super) struct Batch {
    pub(super) lines: Vec<NewLine>,
    pub(super) at: SourceAt,
    /// Whether a cut line waits for its continuation.
    pub(super) held: bool,
    /// Whether there is more to be read at once.
    pub(super) more: bool,
}

/// One line of a file.
struct Piece<'b> {
    at: Timestamp,
    source: LineSource,
    text: &'b [u8],
    /// Where the line begins and ends in the chunk.
    start: usize,
    end: usize,
}

impl InstanceFiles {
    pub(super) fn new(dir: PathBuf, at: SourceAt) -> Self {
        let (number, offset) = match at {
            SourceAt::Byte(number, offset) => (number, offset),
            SourceAt::Start | SourceAt::Line(..) | SourceAt::Ended(_) => (0, 0),
        };
        Self { dir, number, offset, open: None }
    }

    /// Notes that a batch is stored.
    pub(super) fn advance(&mut self, at: SourceAt) {
        if let SourceAt::Byte(number, offset) = at {
            (self.number, self.offset) = (number, offset);
        }
    }

    /// The next lines. `patient`: a cut line may wait for its continuation.
    pub(super) fn read(&mut self, instance: &str, patient: bool) -> Result<Batch, EventsError> {
        let numbers = numbers(&self.dir)?;
        let after = numbers.iter().find(|number| **number > self.number).copied();
        let bytes = self.chunk()?;
        let whole = whole_lines(&bytes, after.is_some());
        if !whole.is_empty() {
            let full = bytes.len() == CHUNK;
            let mut batch = self.batch(instance, whole, full, patient && after.is_none());
            batch.more |= after.is_some();
            return Ok(batch);
        }
        let at = SourceAt::Byte(self.number, self.offset);
        let Some(next) = after else { return Ok(Batch { lines: Vec::new(), at, held: false, more: false }) };
        // The file being read stays open when the helper removes it; those between it and the next are gone unread.
        let read_to_its_end = self.number == 0 || self.open.is_some();
        if read_to_its_end && next == self.number + 1 {
            (self.number, self.offset) = (next, 0);
            return self.read(instance, patient);
        }
        // Said in the log before the reading goes on behind the gap.
        let text =
            format!("lines may be missing: files before {next} were gone before they were read to their end");
        let source = LineSource::Platform;
        let line = NewLine { at: Timestamp::now(), instance: instance.to_owned(), source, text };
        Ok(Batch { lines: vec![line], at: SourceAt::Byte(next, 0), held: false, more: true })
    }

    /// The bytes at the place of reading; none where there is no file.
    fn chunk(&mut self) -> Result<Vec<u8>, EventsError> {
        let path = path(&self.dir, self.number);
        if self.open.as_ref().is_none_or(|(number, _)| *number != self.number) {
            self.open = match File::open(&path) {
                Ok(file) => Some((self.number, file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(EventsError::read(&path, &error)),
            };
        }
        let Some((_, file)) = &self.open else { return Ok(Vec::new()) };
        let mut bytes = vec![0; CHUNK];
        let mut filled = 0;
        while filled < bytes.len() {
            let read = file.read_at(&mut bytes[filled..], self.offset + filled as u64);
            match read.map_err(|error| EventsError::read(&path, &error))? {
                0 => break,
                more => filled += more,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Makes lines of a chunk. Where it is `full` there is more to come; `patient`: there may be.
    fn batch(&self, instance: &str, whole: &[u8], full: bool, patient: bool) -> Batch {
        let pieces = pieces(whole);
        let joined = join(&pieces);
        let hold = full || (patient && whole.len() < CHUNK / 2);
        let mut end = if hold { held_from(&joined) } else { None };
        if full && end == Some(0) {
            end = None;
        }
        let at = self.offset + end.unwrap_or(whole.len()) as u64;
        let kept = joined.into_iter().filter(|line| end.is_none_or(|end| line.start < end));
        let lines = kept.map(|line| NewLine {
            at: line.at,
            instance: instance.to_owned(),
            source: line.source,
            text: String::from_utf8_lossy(&line.text).into_owned(),
        });
        let at = SourceAt::Byte(self.number, at);
        Batch { lines: lines.collect(), at, held: end.is_some(), more: full }
    }
}

/// A line of all its pieces.
struct Joined {
    at: Timestamp,
    source: LineSource,
    text: Vec<u8>,
    start: usize,
    /// Where its last piece ends.
    end: usize,
    complete: bool,
}

/// Puts pieces together, in the order of their first ones.
fn join(pieces: &[Piece<'_>]) -> Vec<Joined> {
    let mut lines: Vec<Joined> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let complete = piece.text.len() != CUT;
        match lines.iter_mut().rev().find(|line| line.source == piece.source).filter(|line| !line.complete) {
            Some(line) => {
                line.text.extend_from_slice(piece.text);
                (line.end, line.complete) = (piece.end, complete);
            }
            None => lines.push(Joined {
                at: piece.at,
                source: piece.source,
                text: piece.text.to_vec(),
                start: piece.start,
                end: piece.end,
                complete,
            }),
        }
    }
    lines
}

/// Where to stop so that no line is torn: before the first that lacks a piece, and before those that reach beyond it.
fn held_from(lines: &[Joined]) -> Option<usize> {
    let mut from = lines.iter().find(|line| !line.complete)?.start;
    while let Some(torn) = lines.iter().find(|line| line.start < from && line.end > from) {
        from = torn.start;
    }
    Some(from)
}

/// The whole lines of a chunk; in a file that is complete, a last line without end counts.
fn whole_lines(bytes: &[u8], complete: bool) -> &[u8] {
    match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => &bytes[..=at],
        None if complete || bytes.len() == CHUNK => bytes,
        None => &[],
    }
}

fn pieces(whole: &[u8]) -> Vec<Piece<'_>> {
    let mut start = 0;
    let mut pieces = Vec::new();
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len();
        pieces.push(piece(line.strip_suffix(b"\n").unwrap_or(line), start, end));
        start = end;
    }
    pieces
}

/// Reads `<unix-nanos> <o|e> text`; what is not of that form is taken as a text of now.
fn piece(line: &[u8], start: usize, end: usize) -> Piece<'_> {
    let read = || {
        let (nanos, rest) = line.split_at_checked(line.iter().position(|byte| *byte == b' ')?)?;
        let nanos: i128 = std::str::from_utf8(nanos).ok()?.parse().ok()?;
        let at = Timestamp::from_nanosecond(nanos).ok()?;
        let source = match rest.get(..3)? {
            b" o " => LineSource::Out,
            b" e " => LineSource::Err,
            _ => return None,
        };
        Some(Piece { at, source, text: &rest[3..], start, end })
    };
    read().unwrap_or_else(|| Piece { at: Timestamp::now(), source: LineSource::Out, text: line, start, end })
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.log"))
}

/// The numbers of the files that there are, rising.
fn numbers(dir: &Path) -> Result<Vec<u64>, EventsError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| EventsError::read(dir, &error))?,
    };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok();
    let mut numbers: Vec<u64> = entries.flatten().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}
