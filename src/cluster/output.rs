//! What a container prints, line by line, from behind a place that has been read before.
//!
//! Lines are bytes and bounded: whatever runs in a pod may print what it likes. A stream that breaks is taken up again at a
//! [`Position`]; the node gives everything since a second, and what was read of it is passed by.

use futures::AsyncBufRead;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use std::io;
use std::pin::Pin;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

/// How far a container's output was read: the time of the last line, and how many lines of that time there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The node's time of the line.
    pub time: Timestamp,
    /// Lines of that very time: a node may give one to all that it reads at once.
    pub count: usize,
}

impl Position {
    fn after(self, time: Timestamp) -> Self {
        let count = if time == self.time { self.count + 1 } else { 1 };
        Self { time, count }
    }
}

/// A piece of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'o> {
    /// Its bytes, without the line's end.
    pub text: &'o [u8],
    /// Whether the line is whole with it.
    pub whole: bool,
}

/// A stream of output.
pub struct Output {
    reader: Compat<Pin<Box<dyn AsyncBufRead + Send>>>,
    /// What was read before, until all of it has been passed by.
    behind: Option<Position>,
    passed: usize,
    /// Whether the last piece was one of a longer line, and whether that was passed by.
    broken: Option<bool>,
    line: Vec<u8>,
    most: usize,
}

impl Output {
    /// Opens the output of a container; of `params` the times and the beginning are set here. Lines are given in pieces of at most
    /// `most` bytes.
    pub async fn open(
        api: &Api<Pod>,
        pod: &str,
        params: LogParams,
        at: Option<Position>,
        most: usize,
    ) -> Result<Self, kube::Error> {
        // The request has whole seconds, and must not be rounded up past what has not been read.
        let since_time = at.and_then(|at| Timestamp::from_second(at.time.as_second()).ok());
        let params = LogParams { timestamps: true, since_time, ..params };
        let stream: Pin<Box<dyn AsyncBufRead + Send>> = Box::pin(api.log_stream(pod, &params).await?);
        Ok(Self::over(stream, at, most))
    }

    fn over(stream: Pin<Box<dyn AsyncBufRead + Send>>, at: Option<Position>, most: usize) -> Self {
        Self { reader: stream.compat(), behind: at, passed: 0, broken: None, line: Vec::new(), most }
    }

    /// The next piece; `at` moves with the first one of each line. `None` at the end.
    pub async fn next(&mut self, at: &mut Option<Position>) -> io::Result<Option<Piece<'_>>> {
        loop {
            self.line.clear();
            let limit = self.most as u64;
            if (&mut self.reader).take(limit).read_until(b'\n', &mut self.line).await? == 0 {
                return Ok(None);
            }
            let whole = self.line.last() == Some(&b'\n');
            if whole {
                self.line.pop();
            }
            if let Some(passed) = self.broken {
                self.broken = (!whole).then_some(passed);
                if passed {
                    continue;
                }
                return Ok(Some(Piece { text: &self.line, whole }));
            }
            let Some((time, text)) = timed(&self.line) else {
                self.broken = (!whole).then_some(true);
                continue;
            };
            let passed = self.was_read(time);
            self.broken = (!whole).then_some(passed);
            if !passed {
                *at = Some(at.map_or(Position { time, count: 1 }, |at| at.after(time)));
                return Ok(Some(Piece { text: &self.line[text..], whole }));
            }
        }
    }

    /// Whether a line of this time is one that was read before. Times count at the beginning alone: a clock may be set back.
    fn was_read(&mut self, time: Timestamp) -> bool {
        let Some(behind) = self.behind else { return false };
        if time < behind.time {
            return true;
        }
        if time == behind.time && self.passed < behind.count {
            self.passed += 1;
            return true;
        }
        self.behind = None;
        false
    }
}

/// The time of a line, and where its text begins.
fn timed(line: &[u8]) -> Option<(Timestamp, usize)> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let time = str::from_utf8(&line[..end]).ok()?.parse().ok()?;
    Some((time, (end + 1).min(line.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &[u8], at: &mut Option<Position>, most: usize) -> Vec<String> {
        let mut output = Output::over(Box::pin(futures::io::Cursor::new(text.to_vec())), *at, most);
        let mut lines = Vec::new();
        while let Some(Piece { text, whole }) = output.next(at).await.unwrap() {
            let end = if whole { "" } else { "…" };
            lines.push(format!("{}{end}", String::from_utf8_lossy(text)));
        }
        lines
    }

    const TEXT: &[u8] = b"2026-11-21T10:00:00.5Z one\n2026-11-21T10:00:00.7Z two\n2026-11-21T10:00:00.7Z three\n2026-11-21T10:00:01Z four\n";

    #[tokio::test]
    async fn a_stream_that_is_taken_up_again_gives_every_line_once() {
        let mut at = None;
        let two = TEXT.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0;
        assert_eq!(read(&TEXT[..=two], &mut at, 100).await, ["one", "two"]);
        assert_eq!(read(TEXT, &mut at, 100).await, ["three", "four"]);
        assert_eq!(read(TEXT, &mut at, 100).await, [""; 0]);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_loses_nothing() {
        let text = b"2026-11-21T10:00:05Z later\n2026-11-21T10:00:00Z sooner\n";
        assert_eq!(read(text, &mut None, 100).await, ["later", "sooner"]);
    }

    #[tokio::test]
    async fn long_lines_come_in_pieces_and_any_byte_is_a_byte() {
        let mut text = b"2026-11-21T10:00:05Z ".to_vec();
        text.extend([b'x'; 100]);
        text.extend(b"\n2026-11-21T10:00:06Z \xff\n2026-11-21T10:00:07Z \n");
        let lines = read(&text, &mut None, 50).await;
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(lines[..3].concat().replace('…', ""), "x".repeat(100));
        assert_eq!(
            lines.iter().map(|line| line.ends_with('…')).collect::<Vec<_>>(),
            [true, true, false, false, false]
        );
        assert_eq!(lines[3..], ["\u{fffd}", ""]);
    }
}
