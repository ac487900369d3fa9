//! Starts a process of an image as the CNB launcher contract says (Platform API 0.15).
//!
//! `process` says what is started, `environment` what it sees; then this program becomes it. Nothing of the launcher
//! stays in the process.

mod environment;
mod process;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Becoming the process does not return; what does is the reason why not.
    let error = process::launch();
    eprintln!("launcher: {error}");
    ExitCode::from(error.code())
}
