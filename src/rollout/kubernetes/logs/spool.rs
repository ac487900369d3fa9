//! The files of one instance's output, in the form that the sandbox helper writes.

use super::CUT;
use hythe_cluster::Position;
use jiff::Timestamp;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Files that an instance's output is kept in; the oldest goes first.
const SEGMENTS: u64 = 4;

/// How much one file takes of so many bytes.
pub(super) fn segment_bytes(bytes: u64) -> u64 {
    (bytes / SEGMENTS).max(64 << 10)
}

/// The files of one instance's output.
pub(super) struct Spool {
    folder: PathBuf,
    segment_bytes: u64,
    number: u64,
    written: u64,
    /// None while nothing is printed.
    file: Option<File>,
    /// Where the last line was printed.
    pub(super) last: Option<Position>,
}

impl Spool {
    pub(super) fn open(folder: &Path, segment_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let numbers = fs::read_dir(folder)?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse::<u64>().ok());
        let number = numbers.max().unwrap_or(1);
        let path = name(folder, number);
        let last = last_time(&path);
        let written = fs::metadata(&path).map_or(0, |file| file.len());
        Ok(Self { folder: folder.to_owned(), segment_bytes, number, written, file: None, last })
    }

    /// A piece of a line.
    pub(super) fn take(&mut self, at: Position, text: &[u8]) -> io::Result<()> {
        self.last = Some(at);
        let nanos = at.time.as_nanosecond();
        let mut rest = text;
        loop {
            let (piece, more) = rest.split_at(rest.len().min(CUT));
            let mut bytes = format!("{nanos} o ").into_bytes();
            bytes.extend_from_slice(piece);
            bytes.push(b'\n');
            self.file()?.write_all(&bytes)?;
            self.written += bytes.len() as u64;
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        if self.written >= self.segment_bytes { self.roll() } else { Ok(()) }
    }

    /// Closes the file until the next line.
    pub(super) fn rest(&mut self) {
        self.file = None;
    }

    fn file(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                let path = name(&self.folder, self.number);
                Ok(none.insert(File::options().create(true).append(true).open(path)?))
            }
        }
    }

    fn roll(&mut self) -> io::Result<()> {
        self.number += 1;
        self.file = None;
        self.written = 0;
        if let Some(oldest) = self.number.checked_sub(SEGMENTS) {
            let _ = fs::remove_file(name(&self.folder, oldest));
        }
        Ok(())
    }
}

fn name(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.log"))
}

/// Where a file's last line was printed. Pieces of one line count each, which passes by a line more at the most.
fn last_time(path: &Path) -> Option<Position> {
    let bytes = fs::read(path).ok()?;
    let time = |line: &[u8]| -> Option<i128> {
        str::from_utf8(line.split(|byte| *byte == b' ').next()?).ok()?.parse().ok()
    };
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let mut times = lines.rsplit(|byte| *byte == b'\n').map(time);
    let last = times.next()??;
    let count = 1 + times.take_while(|time| *time == Some(last)).count();
    Some(Position { time: Timestamp::from_nanosecond(last).ok()?, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> Position {
        let time = format!("2026-11-21T15:12:{second:02}.5Z").parse().unwrap();
        Position { time, count: 1 }
    }

    fn whole(folder: &Path) -> Vec<u8> {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().flat_map(|file| fs::read(file).unwrap()).collect()
    }

    #[test]
    fn a_spool_that_is_opened_again_knows_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 64 << 10).unwrap();
        assert_eq!(spool.last, None);
        spool.take(at(1), b"one").unwrap();
        spool.rest();
        spool.take(at(2), b"two").unwrap();
        spool.take(Position { count: 2, ..at(2) }, b"\xff").unwrap();
        drop(spool);
        let spool = Spool::open(folder.path(), 64 << 10).unwrap();
        assert_eq!(spool.last, Some(Position { count: 2, ..at(2) }));
        assert!(whole(folder.path()).starts_with(b"1795273921500000000 o one\n"));
    }

    #[test]
    fn files_are_bounded_and_long_lines_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 64 << 10).unwrap();
        for second in 1..=50 {
            spool.take(at(second), &vec![b'x'; 40 << 10]).unwrap();
        }
        let text = whole(folder.path());
        assert!(text.len() <= 5 * (128 << 10), "{}", text.len());
        assert!(text.split(|byte| *byte == b'\n').all(|line| line.len() <= CUT + 30));
    }
}
