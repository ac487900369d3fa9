//! Runs buildpacks inside the sandbox: detect, restore, build.
//!
//! Reads one request on standard input and tells what happens as lines of JSON on standard output; see
//! `hythe_cnb::protocol`. Called with two paths it reads the request from the first and leaves the outcome in the second, since
//! a pod's output is a log and its lines are short. Enter at [`run::run`]. It runs as the same user as the buildpacks, beside them: it holds no
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
    let report = report::Report::to_stdout();
    match std::env::args_os().skip(1).collect::<Vec<_>>().as_slice() {
        [request, outcome] => run::run(std::fs::File::open(request), &report.with_outcome_in(outcome)),
        _ => run::run(Ok(std::io::stdin().lock()), &report),
    }
}
