//! `/tools/{tool}/run`: one-off processes.

use super::Api;
use super::access::Caller;
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
    let bytes: usize = run.args.iter().map(String::len).sum();
    if run.args.is_empty() || run.args.len() > ARGS_MAX.0 || bytes > ARGS_MAX.1 {
        return Err(ApiError::new("run", "A command has 1 to 256 words and at most 64 KiB."));
    }
    if run.args.iter().any(|arg| arg.contains('\0')) {
        return Err(ApiError::new("run", "A word of a command cannot hold a zero byte."));
    }
    let session = api.platform().run_once(&tool, RunOnce { release: run.release, args: run.args }).await?;
    // No stop: the server's drain decides how long it waits for answers under way.
    Ok(stream::lines(said(session), CancellationToken::new()))
}

/// What the process says; dropped with the answer's body, which ends the process.
fn said(session: OneOffSession) -> impl futures::Stream<Item = Result<RunLine, Infallible>> + Send {
    futures::stream::unfold(Some(session), |session| async move {
        let mut session = session?;
        Some(match session.output.recv().await {
            Some(OneOffOutput::Bytes { bytes, error }) => {
                let data = STANDARD.encode(bytes);
                let line = if error { RunLine::Stderr { data } } else { RunLine::Stdout { data } };
                (Ok(line), Some(session))
            }
            Some(OneOffOutput::Exit(reason)) => (Ok(RunLine::Exit { code: reason.shell_code() }), None),
            None => {
                let fault = Fault::new("run/lost", "The platform lost sight of the process.")
                    .next("Its lines, if it printed any, are in: hythe logs");
                (Ok(RunLine::Failed { fault }), None)
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use hythe_rollout::ExitReason;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn bytes_come_through_unharmed_and_the_exit_last() {
        let (to, output) = mpsc::channel(4);
        let bytes = vec![0, 255, b'\n'];
        to.send(OneOffOutput::Bytes { bytes, error: true }).await.unwrap();
        let reason = ExitReason { signal: Some(9), ..ExitReason::default() };
        to.send(OneOffOutput::Exit(reason)).await.unwrap();
        let cancel = CancellationToken::new();
        let lines: Vec<_> =
            said(OneOffSession::new(output, cancel.clone())).map(Result::unwrap).collect().await;
        assert_eq!(lines, [RunLine::Stderr { data: "AP8K".into() }, RunLine::Exit { code: 137 }]);
        assert!(cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_ends_the_process() {
        let (_to, output) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        let lines = Box::pin(said(OneOffSession::new(output, cancel.clone())));
        drop(lines);
        assert!(cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_process_out_of_sight_is_a_fault() {
        let (to, output) = mpsc::channel(1);
        drop(to);
        let lines: Vec<_> = said(OneOffSession::new(output, CancellationToken::new())).collect().await;
        assert!(matches!(&lines[..], [Ok(RunLine::Failed { .. })]));
    }
}
