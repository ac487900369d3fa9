//! The git child behind one command: bytes both ways, ended when its client is gone or nothing moves.
//!
//! Buffers are bounded on every way: git that does not read stops the channel's reader and so the client; a client
//! that does not read stops the reader of git's output.

use crate::refusal;
use crate::tickets::Ticket;
use crate::wire::{SOCKET, TOKEN};
use hythe_model::Fault;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes read from git at once: two packets of the channel.
const CHUNK: usize = 64 << 10;
/// Time that a client is given to send the rest of a pack that git has refused, so that it reads the reason.
const REST: Duration = Duration::from_secs(10);
/// Time between asking git to end and ending it.
const GRACE: Duration = Duration::from_secs(2);

/// A git command about to run.
pub(crate) struct Child<'a> {
    pub(crate) command: std::process::Command,
    /// `GIT_PROTOCOL` of the client.
    pub(crate) protocol: Option<String>,
    pub(crate) socket: &'a Path,
    pub(crate) token: &'a str,
}

/// How git ended by itself.
pub(crate) struct Ended {
    pub(crate) code: u32,
    /// Bytes that the client sent.
    pub(crate) received: u64,
}

impl Child<'_> {
    /// Runs git on the channel until it ends, the client is gone, or nothing has moved for `stall`.
    pub(crate) async fn run(
        self,
        ticket: &Ticket,
        stall: Duration,
        reader: &mut ChannelReadHalf,
        writer: &ChannelWriteHalf<Msg>,
    ) -> Result<Ended, Fault> {
        let mut command = Command::from(self.command);
        command.env(SOCKET, self.socket).env(TOKEN, self.token).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(protocol) = self.protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        let failed = |error: std::io::Error| {
            tracing::warn!(%error, "git could not be served");
            refusal::internal()
        };
        let mut child = command.spawn().map_err(failed)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(refusal::internal());
        };
        let flow = Flow::default();
        let served = tokio::select! {
            served = serve(&mut child, stdin, stdout, stderr, ticket, &flow, reader, writer) => served.map_err(failed),
            () = ticket.cancel.cancelled() => Err(refusal::internal()),
            () = flow.stalled(ticket, stall) => Err(refusal::stalled(stall)),
        };
        if served.is_err() {
            ticket.cancel.cancel();
            end(&mut child).await;
        }
        served.map(|status| Ended { code: code(status), received: flow.received.load(Ordering::Relaxed) })
    }
}

/// Carries bytes until git has ended and its last output is sent.
#[expect(clippy::too_many_arguments, reason = "the ends of five pipes meet here and nowhere else")]
async fn serve(
    child: &mut tokio::process::Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    ticket: &Ticket,
    flow: &Flow,
    reader: &mut ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> std::io::Result<ExitStatus> {
    let output = async {
        tokio::try_join!(outward(stdout, None, flow, writer), outward(stderr, Some(1), flow, writer))?;
        child.wait().await
    };
    let input = inward(stdin, ticket, flow, reader);
    tokio::pin!(output, input);
    tokio::select! {
        status = &mut output => {
            // A client that git stopped listening to in the middle of its pack would take an early end for a broken
            // connection and not read why: it may go on sending for a while.
            let rest = async { tokio::select! { () = flow.complete.cancelled() => {}, () = &mut input => {} } };
            let _ = tokio::time::timeout(REST, rest).await;
            status
        }
        () = &mut input => Err(std::io::ErrorKind::ConnectionAborted.into()),
    }
}

/// From the client to git. Ends when the client is gone; what git does not want is read and dropped.
async fn inward(stdin: ChildStdin, ticket: &Ticket, flow: &Flow, reader: &mut ChannelReadHalf) {
    let mut stdin = Some(stdin);
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                flow.moved();
                flow.received.fetch_add(data.len() as u64, Ordering::Relaxed);
                let Some(pipe) = &mut stdin else { continue };
                // Once the pack is whole git reads no more; waiting for it would hide the client's going away.
                let written = tokio::select! {
                    written = pipe.write_all(&data) => written.is_ok(),
                    () = ticket.arrived.cancelled() => false,
                };
                flow.moved();
                if !written {
                    stdin = None;
                }
            }
            ChannelMsg::Eof => {
                // Git waits for it.
                stdin = None;
                flow.complete.cancel();
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    ticket.cancel.cancel();
}

/// From git to the client.
async fn outward(
    mut pipe: impl AsyncRead + Unpin,
    kind: Option<u32>,
    flow: &Flow,
    writer: &ChannelWriteHalf<Msg>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = pipe.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let bytes = buffer[..read].to_vec();
        let sent = match kind {
            None => writer.data_bytes(bytes).await,
            Some(kind) => writer.extended_data_bytes(kind, bytes).await,
        };
        sent.map_err(std::io::Error::other)?;
        flow.moved();
    }
}

/// What has moved, and when last.
#[derive(Default)]
struct Flow {
    received: AtomicU64,
    /// Fires when the client has said all.
    complete: CancellationToken,
    last: Mutex<Option<Instant>>,
}

impl Flow {
    fn moved(&self) {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }

    /// Resolves when nothing has moved for `stall` while git, not the platform, was at work.
    async fn stalled(&self, ticket: &Ticket, stall: Duration) {
        self.moved();
        loop {
            tokio::time::sleep((stall / 8).max(Duration::from_millis(20))).await;
            if ticket.is_working() {
                self.moved();
            }
            let last = *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if last.is_some_and(|last| last.elapsed() > stall) {
                return;
            }
        }
    }
}

/// Ends git and all that it started: asked first, so that it removes its quarantine.
async fn end(child: &mut tokio::process::Child) {
    let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw) else { return };
    let _ = killpg(group, Signal::SIGTERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _ = killpg(group, Signal::SIGKILL);
        let _ = child.wait().await;
    }
}

/// The code for the client: git's own, or 128 and the signal's number.
fn code(status: ExitStatus) -> u32 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u32::try_from(code).unwrap_or(1)
}
