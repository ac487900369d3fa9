//! Everything that reaches the screen: lines, tables, objects, waits.
//!
//! Colours and escapes are taken out where the reader is no terminal (`NO_COLOR` and `CLICOLOR_FORCE` count). Nothing
//! here panics when the reader has gone.

mod clean;
mod table;
mod time;
mod wait;

pub(crate) use clean::clean;
pub(crate) use table::{Cell, Table};
pub(crate) use time::{ago, exact, since};
pub(crate) use wait::Wait;

use crate::failure::Failure;
use hythe_model::Fault;
use owo_colors::OwoColorize;
use serde_json::Value;
use std::io::{self, Write};

/// Prints a line.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    Ok(writeln!(anstream::stdout(), "{text}")?)
}

/// Prints a line beside the output proper.
pub(crate) fn note(text: impl std::fmt::Display) -> Result<(), Failure> {
    Ok(writeln!(anstream::stderr(), "{text}")?)
}

/// Prints bytes as they are.
pub(crate) fn bytes(mut to: impl Write, bytes: &[u8]) -> Result<(), Failure> {
    to.write_all(bytes)?;
    Ok(to.flush()?)
}

/// Prints one of the API's objects, indented.
pub(crate) fn object(value: &Value) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{value:#}")?)
}

/// Prints one of the API's objects as one line.
pub(crate) fn object_line(value: &Value) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{value}")?)
}

/// Prints a fault as the last thing of a run; nothing is left to do where that fails.
pub(crate) fn fault(fault: &Fault, json: bool) {
    let mut screen = anstream::stderr();
    let _ = if json {
        writeln!(screen, "{}", serde_json::json!(fault))
    } else {
        write!(screen, "{}", in_words(fault))
    };
}

/// A fault in words: the sentence with its id, then details and what to do.
fn in_words(fault: &Fault) -> String {
    let mut text = format!("{} {}", "error:".red().bold(), clean(&fault.what));
    let told = fault.id.starts_with("usage/");
    if !told {
        text += &format!("  [{}]", clean(&fault.id)).dimmed().to_string();
    }
    text.push('\n');
    for line in fault.why.iter().chain(&fault.next) {
        text.extend(["  ", &clean(line), "\n"]);
    }
    text
}
