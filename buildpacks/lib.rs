//! What the first-party buildpacks share: faults, reasons, commands, copies.
//!
//! Each buildpack is a folder beside this file and a static program of its own, usable under any CNB platform. Names go
//! `determine_ -> resolve_ -> install_`: what the source asks for, what that means here, and making it so. This crate
//! never decides anything about a language.

mod command;
mod error;
mod fault;
mod files;
mod hash;
pub mod testing;

pub use command::{Ran, run, run_timed};
pub use error::{BuildpackError, report};
pub use fault::{Fault, suggest};
pub use files::{copy_file, copy_tree, read_optional};
pub use hash::fingerprint;

use libcnb_data::launch::{Process, ProcessBuilder, ProcessType};
use libcnb_data::process_type;

/// Where builds find the certificates that they trust.
pub const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What the build plan calls a folder of files that one buildpack makes and another serves.
pub const BUILT_SITE: &str = "built-site";
/// The time that reproducible things bear, for tools that read `SOURCE_DATE_EPOCH`: 1980-01-01T00:00:01Z.
pub const EPOCH: &str = "315532801";

/// Prints one line about a layer: its name in a column, then what is done with it and why.
pub fn note(layer: &str, text: &str) {
    println!("{layer:<16} {text}");
}

/// The `web` process that a shell line starts; the line may name `$PORT`.
pub fn web(line: &str) -> Process {
    shell_process(process_type!("web"), line, true)
}

/// A process that a shell line starts. A line that is one command replaces the shell, and so gets its signals.
pub fn shell_process(kind: ProcessType, line: &str, default: bool) -> Process {
    ProcessBuilder::new(kind, ["bash", "-c", line]).default(default).build()
}

/// A number of things, as people say it: `1 package`, `3 packages`.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}
