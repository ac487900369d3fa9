//! The git children behind one command: bytes both ways, ended when their client is gone or nothing moves.
//!
//! Buffers are bounded on every way: git that does not read stops the channel's reader and so the client; a client
//! that does not read stops the reader of git's output.

use crate::opening::{Opening, Read};
use crate::refusal;
use crate::tickets::Ticket;
use hythe_model::Fault;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes read from git at once: two packets of the channel.
const CHUNK: usize = 64 << 10;
/// Time that a client is given to send the rest of a pack that git has refused, so that it reads the reason.
const REST: Duration = Duration::from_secs(10);
/// Time between asking git to end and ending it.
const GRACE: Duration = Duration::from_secs(2);

/// What a git child reads.
pub(crate) enum Feed {
    /// Nothing: it only tells.
    Nothing,
    /// These bytes, then what the client sends.
    Client(Vec<u8>),
}

/// The client's end of a channel, while git commands run on it.
pub(crate) struct Client<'a> {
    reader: &'a mut ChannelReadHalf,
    writer: &'a ChannelWriteHalf<Msg>,
    ticket: &'a Ticket,
    stall: Duration,
    flow: Flow,
}

impl<'a> Client<'a> {
    /// The client of this ticket. Its commands are ended when nothing moves for `stall`.
    pub(crate) fn new(
        reader: &'a mut ChannelReadHalf,
        writer: &'a ChannelWriteHalf<Msg>,
        ticket: &'a Ticket,
        stall: Duration,
    ) -> Self {
        Self { reader, writer, ticket, stall, flow: Flow::default() }
    }

    /// Bytes that the client has sent.
    pub(crate) fn received(&self) -> u64 {
        self.flow.received.load(Ordering::Relaxed)
    }

    /// Reads how a push begins; none where the client has nothing to say.
    pub(crate) async fn opening(&mut self) -> Result<Option<Opening>, Fault> {
        let mut opening = Opening::default();
        let read = async {
            while let Some(message) = self.reader.wait().await {
                match message {
                    ChannelMsg::Data { data } => {
                        self.flow.arrived(data.len());
                        match opening.push(&data) {
                            Read::More => {}
                            Read::Whole => return Ok(true),
                            Read::Malformed => return Err(refusal::not_git()),
                        }
                    }
                    ChannelMsg::Eof => {
                        self.flow.complete.cancel();
                        return Ok(false);
                    }
                    ChannelMsg::Close => break,
                    _ => {}
                }
            }
            self.ticket.cancel.cancel();
            Ok(false)
        };
        let whole = tokio::select! {
            whole = read => whole,
            () = self.ticket.cancel.cancelled() => Ok(false),
            () = self.flow.stalled(self.ticket, self.stall) => Err(refusal::stalled(self.stall)),
        };
        Ok(whole?.then_some(opening))
    }

    /// Runs git until it ends by itself, the client is gone, or nothing has moved for too long.
    pub(crate) async fn run(&mut self, command: std::process::Command, feed: Feed) -> Result<u32, Fault> {
        let mut command = Command::from(command);
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error: std::io::Error| {
            tracing::warn!(%error, "git could not be served");
            refusal::internal()
        };
        let mut child = command.spawn().map_err(failed)?;
        let flow = &self.flow;
        let served = tokio::select! {
            served = serve(&mut child, feed, self.ticket, flow, self.reader, self.writer) => served.map_err(failed),
            () = self.ticket.cancel.cancelled() => Err(refusal::internal()),
            () = flow.stalled(self.ticket, self.stall) => Err(refusal::stalled(self.stall)),
        };
        if served.is_err() {
            self.ticket.cancel.cancel();
            end(&mut child).await;
        }
        served.map(code)
    }
}

/// Carries bytes until git has ended and its last output is sent.
async fn serve(
    child: &mut tokio::process::Child,
    feed: Feed,
    ticket: &Ticket,
    flow: &Flow,
    reader: &mut ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> std::io::Result<ExitStatus> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let output = async {
        tokio::try_join!(outward(stdout, None, flow, writer), outward(stderr, Some(1), flow, writer))?;
        child.wait().await
    };
    let Feed::Client(first) = feed else {
        drop(stdin);
        return output.await;
    };
    let input = inward(first, stdin, ticket, flow, reader);
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
async fn inward(
    first: Vec<u8>,
    mut stdin: Option<ChildStdin>,
    ticket: &Ticket,
    flow: &Flow,
    reader: &mut ChannelReadHalf,
) {
    feed_git(&mut stdin, &first, ticket).await;
    if flow.complete.is_cancelled() {
        stdin = None;
    }
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                flow.arrived(data.len());
                feed_git(&mut stdin, &data, ticket).await;
                flow.moved();
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

/// Hands bytes to git while it listens. Once the pack is whole it does not, and waiting would hide the client's going.
async fn feed_git(stdin: &mut Option<ChildStdin>, bytes: &[u8], ticket: &Ticket) {
    let Some(pipe) = stdin else { return };
    let written = tokio::select! {
        written = pipe.write_all(bytes) => written.is_ok(),
        () = ticket.arrived.cancelled() => false,
    };
    if !written {
        *stdin = None;
    }
}

/// From git to the client.
async fn outward(
    pipe: Option<impl AsyncRead + Unpin>,
    kind: Option<u32>,
    flow: &Flow,
    writer: &ChannelWriteHalf<Msg>,
) -> std::io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
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
    fn arrived(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.moved();
    }

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
