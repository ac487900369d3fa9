//! Runs buildpacks inside the sandbox: detect, restore, build.
//!
//! Reads one request on standard input and tells what happens as lines of JSON on standard output; see
//! `hythe_cnb::protocol`. Enter at [`run::run`]. It runs as the same user as the buildpacks, beside them: it holds no
//! credential, and nobody takes its word for more than theirs.

mod detect;
mod environment;
mod files;
mod orphans;
mod process;
mod report;
mod restore;
mod result;
mod run;
mod steps;
mod store;

fn main() -> std::process::ExitCode {
    orphans::watch();
    run::run(std::io::stdin().lock(), &report::Report::to_stdout())
}
