//! The program `hythe-sandbox`.
//!
//! Enter at [`main`].

/// Runs the program with the arguments of the process.
pub fn main() -> std::process::ExitCode {
    todo!()
}
