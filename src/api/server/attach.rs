//! `/tools/{tool}/run/attach`: a one-off process with everything of it, over a WebSocket.
//!
//! `handshake` is the way out of HTTP, `session` what is said then, `books` who may send how much.

mod books;
mod handshake;
mod session;
#[cfg(test)]
mod tests;

use super::Api;
use super::access::Caller;
use super::error::{ApiError, Refused};
use super::extract::InTool;
use super::run::checked;
use crate::types::{Attach, Terminal};
pub(crate) use session::out_of_sight;

use axum::extract::State;
use axum::response::Response;
use handshake::Handshake;
use hythe_auth::Action;
use hythe_model::{Fault, TerminalSize};
use hythe_pipeline::RunOnce;
use hythe_rollout::OneOffTerminal;

/// The most characters of a terminal's kind.
const KIND_MAX: usize = 64;

/// Runs a command once in a tool's image, attached: its input, its output and error apart or a terminal, its signals.
///
/// A WebSocket (RFC 6455) of the subprotocol `hythe.run.v1`. Each binary message is a frame of at most 128 KiB: one byte says
/// what it is, its content follows. The client sends 1 start (JSON, `Attach`; the first frame), 2 input (bytes), 3 end of
/// input, 4 resize (JSON, `{"rows": 24, "cols": 80}`), 5 signal (JSON, one of "HUP", "INT", "QUIT", "TERM"), 6 taken. The
/// server sends 16 started, 17 output (bytes), 18 error (bytes), 21 taken, and last 19 exit (JSON, `{"code": 0}`) or 20
/// failed (JSON, `Fault`). Of input, and of output and error together, 256 KiB may be on their way: `taken` (32 bits, big
/// endian) says how many bytes more may be sent. The process ends when the connection does. The server pings every 15 s and
/// takes a client that says nothing for a minute for gone.
#[utoipa::path(get, path = "/tools/{tool}/run/attach", tag = "run", operation_id = "run_attached", params(("tool" = String, Path)), responses((status = 101, description = "The connection speaks WebSocket from here on; its first frame holds this object", body = Attach, content_type = "application/octet-stream"), Refused))]
pub(crate) async fn attach(
    State(api): State<Api>,
    caller: Caller,
    InTool(tool): InTool,
    handshake: Result<Handshake, ApiError>,
) -> Result<Response, ApiError> {
    // First of all: who may not run anything here is not told whether there is anything here.
    caller.may(Action::RunOnce, Some(&tool)).await?;
    let handshake = handshake?;
    let place = api.0.runs.enter(&tool)?;
    let stop = api.0.shutdown.clone();
    let (runs, platform) = (api.0.runs.clone(), api.platform().clone());
    Ok(handshake.answer(&runs, |socket| async move {
        let start = async |attach| platform.run_once(&tool, wanted(attach)?).await;
        session::converse(socket, start, stop).await;
        drop(place);
    }))
}

/// What is to be run, where it can be.
fn wanted(attach: Attach) -> Result<RunOnce, Fault> {
    let terminal = attach.terminal.map(terminal).transpose()?;
    Ok(RunOnce { release: attach.release, args: checked(attach.args)?, terminal })
}

fn terminal(wanted: Terminal) -> Result<OneOffTerminal, Fault> {
    let Terminal { kind, rows, cols } = wanted;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if kind.is_empty() || kind.len() > KIND_MAX || !kind.chars().all(plain) {
        let what =
            "A terminal's kind is 1 to 64 letters, digits, `.`, `_`, `+` and `-`, as in xterm-256color.";
        return Err(Fault::new("run/terminal", what));
    }
    Ok(OneOffTerminal { kind, size: TerminalSize { rows, cols } })
}
