//! `/tools/{tool}/run`: one-off processes.

use super::Api;
use super::access::Caller;
use super::attach::out_of_sight;
use super::error::{ApiError, Refused};
use super::extract::{Body, InTool};
use super::stream;
use crate::types::{Run, RunLine};
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hythe_auth::Action;
use hythe_model::Fault;
use hythe_pipeline::RunOnce;
use hythe_rollout::{OneOffOutput, OneOffSession};
use std::convert::Infallible;
use tokio_util::sync::CancellationToken;

/// The most arguments, and bytes of them in all.
const ARGS_MAX: (usize, usize) = (256, 64 * 1024);

/// Runs a command once in a tool's image; its output as JSON lines. The process ends when the caller goes away.
#[utoipa::path(post, path = "/tools/{tool}/run", tag = "run", operation_id = "run_once", params(("tool" = String, Path)), request_body = Run, responses((status = 200, description = "Done", body = RunLine, content_type = "application/x-ndjson"), Refused))]
pub(crate) async fn run(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    Body(run): Body<Run>,
) -> Result<Response, ApiError> {
    caller.may(Action::RunOnce, Some(&tool)).await?;
    let args = checked(run.args)?;
    let place = api.0.runs.enter(&tool)?;
    let run = RunOnce { release: run.release, args, terminal: None };
    let mut session = api.platform().run_once(&tool, run).await?;
    // It sees an input without anything in it.
    session.input = None;
    // No stop: the server's drain decides how long it waits for answers under way.
    Ok(stream::lines(said(session, place), CancellationToken::new()))
}

/// The words of a command, where they can be one's.
pub(crate) fn checked(args: Vec<String>) -> Result<Vec<String>, Fault> {
    let bytes: usize = args.iter().map(String::len).sum();
    if args.is_empty() || args.len() > ARGS_MAX.0 || bytes > ARGS_MAX.1 {
        return Err(Fault::new("api/run", "A command has 1 to 256 words and at most 64 KiB."));
    }
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(Fault::new("api/run", "A word of a command cannot hold a zero byte."));
    }
    Ok(args)
}

/// What the process says; dropped with the answer's body, which ends the process and gives its place back.
fn said<P: Send>(
    session: OneOffSession,
    place: P,
) -> impl futures::Stream<Item = Result<RunLine, Infallible>> + Send {
    futures::stream::unfold(Some((session, place)), |held| async move {
        let (mut session, place) = held?;
        Some(match session.output.recv().await {
            Some(OneOffOutput::Bytes { bytes, error }) => {
                let data = STANDARD.encode(bytes);
                let line = if error { RunLine::Stderr { data } } else { RunLine::Stdout { data } };
                (Ok(line), Some((session, place)))
            }
            Some(OneOffOutput::Exit(reason)) => (Ok(RunLine::Exit { code: reason.shell_code() }), None),
            None => (Ok(RunLine::Failed { fault: out_of_sight() }), None),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use hythe_rollout::ExitReason;

    #[tokio::test]
    async fn bytes_come_through_unharmed_and_the_exit_last() {
        let cancel = CancellationToken::new();
        let (session, ends) = OneOffSession::pair(None, cancel.clone());
        let bytes = vec![0, 255, b'\n'];
        ends.output.send(OneOffOutput::Bytes { bytes, error: true }).await.unwrap();
        let reason = ExitReason { signal: Some(9), ..ExitReason::default() };
        ends.output.send(OneOffOutput::Exit(reason)).await.unwrap();
        let lines: Vec<_> = said(session, ()).map(Result::unwrap).collect().await;
        assert_eq!(lines, [RunLine::Stderr { data: "AP8K".into() }, RunLine::Exit { code: 137 }]);
        assert!(cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_ends_the_process() {
        let cancel = CancellationToken::new();
        let (session, _ends) = OneOffSession::pair(None, cancel.clone());
        let lines = Box::pin(said(session, ()));
        drop(lines);
        assert!(cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_process_out_of_sight_is_a_fault() {
        let (session, ends) = OneOffSession::pair(None, CancellationToken::new());
        drop(ends);
        let lines: Vec<_> = said(session, ()).collect().await;
        assert!(matches!(&lines[..], [Ok(RunLine::Failed { .. })]));
    }
}
