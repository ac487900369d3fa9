//! Log files of a sandbox, written by the helper so that nothing is lost while the server is away.
//!
//! Enter at [`LogWriter::write`]. Files are named by number and never reopened: the highest is being written, each
//! lower one is complete. A line is bounded, the files are bounded in size and number.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest line, in bytes; what is longer is cut into several.
const LINE: usize = 16 << 10;
/// Smallest file, and fewest files, whatever is asked.
const SMALLEST: u64 = 64 << 10;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Error,
}

impl Stream {
    fn mark(self) -> char {
        match self {
            Self::Output => 'o',
            Self::Error => 'e',
        }
    }
}

/// Writes lines with their time and stream.
#[derive(Debug)]
pub(super) struct LogWriter {
    dir: PathBuf,
    segment_bytes: u64,
    segments: u64,
    number: u64,
    written: u64,
    file: Option<File>,
    partial: [Vec<u8>; 2],
}

impl LogWriter {
    /// Begins a new file in `dir`, after those that are there.
    pub(super) fn open(dir: &Path, segment_bytes: u64, segments: u32) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut writer = Self {
            dir: dir.to_owned(),
            segment_bytes: segment_bytes.max(SMALLEST),
            segments: u64::from(segments.max(2)),
            number: numbers(dir).into_iter().max().unwrap_or_default(),
            written: 0,
            file: None,
            partial: [Vec::new(), Vec::new()],
        };
        writer.rotate()?;
        Ok(writer)
    }

    /// Takes what a process wrote; complete lines go to the file. A full disk loses lines, never the process.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let at = stream as usize;
        let mut partial = std::mem::take(&mut self.partial[at]);
        let mut out = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, complete) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            for chunk in text.chunks(LINE) {
                if partial.len() + chunk.len() > LINE {
                    format_line(&mut out, stream, &partial);
                    partial.clear();
                }
                partial.extend_from_slice(chunk);
            }
            if complete {
                format_line(&mut out, stream, &partial);
                partial.clear();
            }
        }
        self.partial[at] = partial;
        self.append(&out);
    }

    /// Writes what is left of unfinished lines.
    pub(super) fn finish(&mut self) {
        let mut out = Vec::new();
        for (stream, at) in [(Stream::Output, 0), (Stream::Error, 1)] {
            let partial = std::mem::take(&mut self.partial[at]);
            if !partial.is_empty() {
                format_line(&mut out, stream, &partial);
            }
        }
        self.append(&out);
    }

    fn append(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        if self.written + lines.len() as u64 > self.segment_bytes && self.written > 0 {
            let _ = self.rotate();
        }
        self.written += lines.len() as u64;
        if let Some(file) = &mut self.file {
            let _ = file.write_all(lines);
        }
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        self.number += 1;
        let path = self.dir.join(format!("{:010}.log", self.number));
        self.file = None;
        self.file = Some(OpenOptions::new().append(true).create_new(true).mode(0o640).open(path)?);
        self.written = 0;
        for old in numbers(&self.dir).into_iter().filter(|old| old + self.segments <= self.number) {
            let _ = std::fs::remove_file(self.dir.join(format!("{old:010}.log")));
        }
        Ok(())
    }
}

fn format_line(out: &mut Vec<u8>, stream: Stream, text: &[u8]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    out.extend_from_slice(format!("{now} {} ", stream.mark()).as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

fn numbers(dir: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hythe-logs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn lines(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let text: String = names.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn lines_are_put_together_cut_and_told_apart() {
        let dir = temp("lines");
        let mut log = LogWriter::open(&dir, 1 << 20, 3).unwrap();
        log.write(Stream::Output, b"hel");
        log.write(Stream::Error, b"oops\n");
        log.write(Stream::Output, b"lo\n\nwor");
        log.write(Stream::Error, &vec![b'x'; LINE * 2 + 5]);
        log.finish();
        let seen = lines(&dir);
        assert_eq!(seen[..3], ["e oops", "o hello", "o "]);
        assert_eq!(seen[3..].iter().map(String::len).collect::<Vec<_>>(), [LINE + 2, LINE + 2, 5, 7]);
        assert_eq!(seen[5], "o wor");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn files_are_bounded_and_a_new_writer_goes_on_after_the_last() {
        let dir = temp("files");
        for _ in 0..2 {
            let mut log = LogWriter::open(&dir, 1, 3).unwrap();
            for _ in 0..40 {
                log.write(Stream::Output, &[b"y".repeat(9_999), b"\n".to_vec()].concat());
            }
        }
        let kept = numbers(&dir);
        assert_eq!(kept.len(), 3);
        assert!(kept.iter().all(|number| *number > 6), "{kept:?}");
        let bytes: u64 = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes <= 3 * (SMALLEST + 20_000), "{bytes}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
