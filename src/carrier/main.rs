//! `hythe-carrier restore | export`: the first and the last container of a build's pod.

use hythe_carrier::{Access, CarryError, export, places, restore};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    match run(&verb).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{verb}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(verb: &str) -> Result<(), CarryError> {
    let access = Access::read(places::ACCESS.as_ref())?;
    match verb {
        "restore" => restore(&access).await,
        "export" => export(&access).await,
        _ => Err(CarryError::Verb),
    }
}
