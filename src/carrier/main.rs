//! `hythe-carrier restore | export TAG`: the first and the last container of a build's pod.

use hythe_carrier::{Access, CarryError, export, places, restore};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    match run(&verb, args.next()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{verb}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(verb: &str, tag: Option<String>) -> Result<(), CarryError> {
    let access = Access::read(places::ACCESS.as_ref())?;
    match (verb, tag) {
        ("restore", None) => restore(&access).await,
        ("export", Some(tag)) => export(&access, &tag).await,
        _ => Err(CarryError::Verb),
    }
}
