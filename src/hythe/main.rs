//! `hythe`, the command line of maintainers: verbs over the platform's HTTP API.

mod attach;
mod cli;
mod client;
mod confirm;
mod context;
mod failure;
mod input;
mod output;
mod settings;
mod stream;
mod target;
mod verbs;
mod watch;

fn main() -> std::process::ExitCode {
    cli::main()
}
