//! Runs one executable of a buildpack and hears its output line by line.

use crate::orphans;
use hythe_cnb::protocol::{FAULT_PREFIX, LINE_MAX, WrittenFault};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// The longest line that is kept whole, so that a written fault fits; output is cut at [`LINE_MAX`].
const RAW_MAX: usize = 64 << 10;
/// How long output is awaited after the process itself has ended: a child of it may hold the pipe open.
const LINGER: Duration = Duration::from_millis(500);
/// How many last lines are kept.
const TAIL: usize = 20;

/// How a process ended, and its last words.
pub(crate) struct Ran {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its last lines, faults left out.
    pub(crate) tail: Vec<String>,
    /// The fault that it wrote last.
    pub(crate) fault: Option<WrittenFault>,
}

impl Ran {
    /// How it ended, in words.
    pub(crate) fn ending(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("it exited with code {code}"),
            (None, Some(signal)) => format!("signal {signal} ended it"),
            (None, None) => "it ended".into(),
        }
    }
}

enum Heard {
    Line(Vec<u8>),
    Silence,
    Exit(io::Result<ExitStatus>),
}

/// Runs it with nothing on standard input and both outputs in one pipe, so that their lines keep their order.
pub(crate) fn run(mut command: Command, line: &mut dyn FnMut(&str)) -> io::Result<Ran> {
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = orphans::spawn(&mut command)?;
    // The command holds the pipe's other end, which must close with the child.
    drop(command);
    let (heard, hear) = sync_channel(256);
    let exits = heard.clone();
    std::thread::spawn(move || split(reader, &heard));
    std::thread::spawn(move || exits.send(Heard::Exit(orphans::wait(&mut child))));
    listen(&hear, line)
}

fn listen(hear: &Receiver<Heard>, line: &mut dyn FnMut(&str)) -> io::Result<Ran> {
    let mut exit: Option<(ExitStatus, Instant)> = None;
    let mut silent = false;
    let (mut tail, mut fault) = (VecDeque::new(), None);
    loop {
        if let (Some((status, _)), true) = (&exit, silent) {
            return Ok(Ran { status: *status, tail: tail.into(), fault });
        }
        let wait =
            exit.as_ref().map_or(Duration::from_hours(1), |(_, at)| LINGER.saturating_sub(at.elapsed()));
        match hear.recv_timeout(wait) {
            Ok(Heard::Line(bytes)) => {
                let text = String::from_utf8_lossy(&bytes);
                if let Some(json) = text.strip_prefix(FAULT_PREFIX) {
                    fault = serde_json::from_str(json.trim()).ok().or(fault);
                } else {
                    let text = cut(&text);
                    line(text);
                    if tail.len() == TAIL {
                        tail.pop_front();
                    }
                    tail.push_back(text.to_owned());
                }
            }
            Ok(Heard::Exit(status)) => exit = Some((status?, Instant::now())),
            Err(RecvTimeoutError::Timeout) if exit.is_none() => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) | Ok(Heard::Silence) => {
                silent = true;
            }
        }
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=LINE_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Splits at line feeds and, as progress bars use them, carriage returns; what a line has beyond the bound is lost.
fn split(mut reader: impl Read, heard: &SyncSender<Heard>) {
    let mut buffer = vec![0; 64 << 10];
    let mut line = Vec::new();
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        for piece in buffer[..count].split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let end = piece.last().filter(|byte| matches!(byte, b'\n' | b'\r')).copied();
            let text = if end.is_some() { &piece[..piece.len() - 1] } else { piece };
            line.extend_from_slice(&text[..text.len().min(RAW_MAX.saturating_sub(line.len()))]);
            let send = end == Some(b'\n') || (end == Some(b'\r') && !line.is_empty());
            if send && heard.send(Heard::Line(std::mem::take(&mut line))).is_err() {
                return;
            }
        }
    }
    if !line.is_empty() {
        let _ = heard.send(Heard::Line(line));
    }
    let _ = heard.send(Heard::Silence);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Ran, Vec<String>) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let mut lines = Vec::new();
        let ran = run(command, &mut |line| lines.push(line.to_owned())).unwrap();
        (ran, lines)
    }

    #[test]
    fn both_outputs_keep_their_order() {
        let (ran, lines) = shell("echo a; echo b >&2; printf c; exit 3");
        assert_eq!(lines, ["a", "b", "c"]);
        assert_eq!(ran.status.code(), Some(3));
        assert_eq!(ran.ending(), "it exited with code 3");
    }

    #[test]
    fn progress_bars_become_lines_and_empty_lines_stay() {
        let (_, lines) = shell(r"printf '1%%\r2%%\r\n\na\r\n'");
        assert_eq!(lines, ["1%", "2%", "", "", "a", ""]);
    }

    #[test]
    fn a_written_fault_is_told_apart_from_output() {
        let (ran, lines) =
            shell(r#"echo x; echo '::hythe-fault::{"id":"a/b","what":"W.","next":["n"]}'; exit 1"#);
        assert_eq!(lines, ["x"]);
        let fault = ran.fault.unwrap();
        assert_eq!((fault.id.as_str(), fault.next.len()), ("a/b", 1));
    }

    #[test]
    fn long_lines_are_cut_and_the_tail_is_short() {
        let (ran, lines) = shell("head -c 300000 /dev/zero | tr '\\0' x; echo; seq 1 100");
        assert_eq!(lines[0].len(), LINE_MAX);
        assert_eq!(lines.len(), 101);
        assert_eq!((ran.tail.len(), ran.tail[0].as_str()), (TAIL, "81"));
    }

    #[test]
    fn a_child_left_behind_does_not_hold_the_build() {
        let started = Instant::now();
        let (ran, _) = shell("sleep 30 & echo done");
        assert!(ran.status.success());
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_signal_is_named() {
        assert_eq!(shell("kill -9 $$").0.ending(), "signal 9 ended it");
    }
}
