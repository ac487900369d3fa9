//! The program `hythe-sandbox`; everything is in the library's `helper`.

fn main() -> std::process::ExitCode {
    hythe_sandbox::helper::main()
}
