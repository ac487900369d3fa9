//! The phases in order.

use crate::report::Report;
use crate::{detect, restore, steps, store};
use hythe_cnb::protocol::{Failure, Message, Outcome, Request};
use std::io::{self, Read};
use std::process::ExitCode;

/// The longest request, bytes.
const REQUEST_MAX: u64 = 64 << 20;

/// Does what is asked; exits with 0 where an outcome was told, with 1 where a failure was.
pub(crate) fn run(input: io::Result<impl Read>, report: &Report) -> ExitCode {
    let done = read(input).and_then(|request| phases(&request, report));
    match done.and_then(|outcome| report.done(outcome)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report.tell(&Message::Failed { failure: *failure });
            ExitCode::FAILURE
        }
    }
}

fn read(input: io::Result<impl Read>) -> Result<Request, Box<Failure>> {
    let fail = |why: String| {
        Box::new(Failure::Setup { reason: format!("the lifecycle's request cannot be read: {why}") })
    };
    let mut bytes = Vec::new();
    input
        .and_then(|input| input.take(REQUEST_MAX).read_to_end(&mut bytes))
        .map_err(|error| fail(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))
}

fn phases(request: &Request, report: &Report) -> Result<Outcome, Box<Failure>> {
    let buildpacks = store::read(&request.buildpacks)?;
    let context = crate::environment::Context::prepare(request)?;
    let detected = detect::detect(request, &buildpacks, &context, report)?;
    restore::restore(request, &detected.members, &buildpacks)?;
    steps::build(request, detected, &buildpacks, &context, report)
}
