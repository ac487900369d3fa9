//! The program `hythe-sandbox`: what holds, feeds and ends the sandboxes.
//!
//! Enter at [`main`]. `enter` makes the namespaces while the process still has a single thread, `serve` answers
//! requests, one thread a connection; `run` puts a sandbox together and `supervise` watches it to its end.
//! The program trusts whoever has its own user id and nobody else; it never trusts what lies in a sandbox's files.

mod archive;
mod attend;
mod bundle;
mod cgroup;
mod console;
mod deleted;
mod disk;
mod enter;
mod fds;
mod files;
mod guard;
mod logs;
mod network;
mod options;
mod overlay;
mod pump;
mod reap;
mod refusal;
mod root;
mod run;
mod seccomp;
mod serve;
mod signal;
mod state;
mod supervise;
mod trial;

use options::{Command, Options};
use std::process::ExitCode;

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    crate::kernel::close_inherited_files();
    let result = match options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Serve(options)) => enter::enter(&options, |ready| serve::serve(options.clone(), ready)),
        Ok(Command::Try(options)) => enter::enter(&options, |ready| trial::run(&options, ready)),
        Err(usage) => Err(usage),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
