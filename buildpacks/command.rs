//! Runs package managers: their output goes on to the log, its last lines are kept to explain a failure.

use crate::BuildpackError;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// Begins the line by which a platform learns where the time went.
const TIME_MARK: &str = "::hythe-time::";
/// Lines that are kept.
const KEPT: usize = 400;

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// The last lines of its output, both streams in their order.
    pub lines: Vec<String>,
}

impl Ran {
    /// Its output as one text.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// As [`run`], and tells the platform how long this package manager took.
pub fn run_timed(tool: &str, command: &mut Command) -> Result<Ran, BuildpackError> {
    let started = Instant::now();
    let ran = run(command);
    let told = serde_json::json!({ "tool": tool, "millis": started.elapsed().as_millis() });
    println!("{TIME_MARK}{told}");
    ran
}

/// Runs a program to its end and shows its output, indented, while it comes.
pub fn run(command: &mut Command) -> Result<Ran, BuildpackError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| BuildpackError::Start { program: program.clone(), source };
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let both = writer.try_clone().map_err(failed)?;
    let spawned = command.stdin(Stdio::null()).stdout(writer).stderr(both).spawn();
    // The command holds the pipe's writing ends; while it does, the reader would never see the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawned.map_err(failed)?;
    let mut lines = VecDeque::new();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        println!("  {text}");
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(text);
        line.clear();
    }
    let status = child.wait().map_err(failed)?;
    Ok(Ran { status, lines: lines.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_are_kept_in_their_order() {
        let ran = run(Command::new("sh").args(["-c", "echo one; echo two >&2; echo three; exit 3"])).unwrap();
        assert_eq!((ran.status.code(), ran.text().as_str()), (Some(3), "one\ntwo\nthree"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("/no/such/program")).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"));
    }
}
