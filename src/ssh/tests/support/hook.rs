//! What git runs as hooks in the tests; `hythed hook` does the same.

fn main() -> std::process::ExitCode {
    hythe_ssh::hook::main(&std::env::args().nth(1).unwrap_or_default())
}
