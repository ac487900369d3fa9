//! Commands that run once in a release's image, each in a sandbox: on pipes, or on a terminal of its own.

use super::sandbox::{Sandboxes, one_off_spec, reason};
use crate::one_off::{
    END_OF_TYPING, ONE_OFF_PIECE, OneOff, OneOffEnds, OneOffOutput, OneOffSession, beside, not_started,
};
use hythe_model::{Fault, Signal, TerminalSize};
use hythe_sandbox::{Exit, Helper, Sandbox, SandboxError, SandboxSpec, Stdio, Terminal};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Starts a one-off process. Cancelling the token, or dropping the session, ends it.
pub(super) async fn start(
    sandboxes: &Sandboxes,
    run: OneOff,
    cancel: CancellationToken,
) -> Result<OneOffSession, Fault> {
    let release = &run.release;
    let args = run.command();
    let image = sandboxes.image(release).await?;
    let spec = one_off_spec(sandboxes, release, image, args, run.terminal.as_ref())?;
    let limits = release.settings.limits.clone();
    let size = run.terminal.as_ref().map(|terminal| terminal.size);
    let (session, ends) = OneOffSession::pair(run.terminal.as_ref(), cancel.clone());
    let helper = sandboxes.parts.helper.clone();
    let (say_started, started) = oneshot::channel();
    // Not a part of this future: who drops it in the middle of the start must not leave a process behind.
    tokio::spawn(async move {
        let (sandbox, streams) = match open(&helper, spec, size).await {
            Ok(opened) => opened,
            Err(fault) => return drop(say_started.send(Err(fault))),
        };
        let _ = say_started.send(Ok(()));
        let output = ends.output.clone();
        let exit = Box::pin(attend(&sandbox, streams, ends, cancel)).await;
        if let Ok(exit) = exit {
            let exit = reason(&exit, limits.memory_bytes, limits.disk_bytes, Vec::new());
            let _ = output.send(OneOffOutput::Exit(exit)).await;
        }
        if let Err(error) = sandbox.release().await {
            tracing::warn!(sandbox = sandbox.id(), %error, "cannot forget a one-off process");
        }
    });
    started.await.map_err(|error| not_started(error.to_string()))??;
    Ok(session)
}

/// Our ends of what a process reads and writes.
enum Streams {
    Pipes { stdin: Sender, stdout: Receiver, stderr: Receiver },
    Terminal(Terminal),
}

async fn open(
    helper: &Helper,
    spec: SandboxSpec,
    terminal: Option<TerminalSize>,
) -> Result<(Sandbox, Streams), Fault> {
    if let Some(size) = terminal {
        let opened = helper.run_in_terminal(spec, size).await;
        let (sandbox, terminal) = opened.map_err(|error| no_sandbox(&error))?;
        return Ok((sandbox, Streams::Terminal(terminal)));
    }
    let (streams, stdio) = pipes().map_err(|error| not_started(error.to_string()))?;
    let sandbox = helper.run(spec, stdio).await.map_err(|error| no_sandbox(&error))?;
    Ok((sandbox, streams))
}

fn pipes() -> io::Result<(Streams, Stdio)> {
    let (theirs, stdin) = io::pipe()?;
    let ((stdout, out), (stderr, err)) = (io::pipe()?, io::pipe()?);
    let reader = |end: io::PipeReader| Receiver::from_owned_fd(end.into());
    let stdin = Sender::from_owned_fd(OwnedFd::from(stdin))?;
    let streams = Streams::Pipes { stdin, stdout: reader(stdout)?, stderr: reader(stderr)? };
    Ok((streams, Stdio::Fds { stdin: Some(theirs.into()), stdout: out.into(), stderr: err.into() }))
}

/// The sandbox's own words, of a command.
fn no_sandbox(error: &SandboxError) -> Fault {
    let Fault { why, next, .. } = error.fault();
    Fault { why, next, ..not_started("") }
}

/// Carries both ways and passes on signals until the process has ended.
async fn attend(
    sandbox: &Sandbox,
    streams: Streams,
    ends: OneOffEnds,
    cancel: CancellationToken,
) -> Result<Exit, SandboxError> {
    let OneOffEnds { input, size, signals, output } = ends;
    let carried = async {
        match streams {
            Streams::Pipes { stdin, stdout, stderr } => {
                let shown = async { tokio::join!(pump(stdout, false, &output), pump(stderr, true, &output)) };
                beside(shown, feed(stdin, input)).await;
            }
            Streams::Terminal(terminal) => {
                let told = async { tokio::join!(type_in(&terminal, input), resize(&terminal, size)) };
                beside(show(&terminal, &output), told).await;
            }
        }
        // A process that closed its output may run on.
        sandbox.wait().await
    };
    let ended = Box::pin(beside(carried, pass_on(sandbox, signals)));
    if let Some(exit) = cancel.run_until_cancelled(ended).await {
        return exit;
    }
    sandbox.kill().await?;
    sandbox.wait().await
}

async fn pump(mut from: impl AsyncRead + Unpin, error: bool, to: &mpsc::Sender<OneOffOutput>) {
    let mut piece = vec![0; ONE_OFF_PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        if to.send(OneOffOutput::Bytes { bytes: piece[..count].to_vec(), error }).await.is_err() {
            return;
        }
    }
}

/// Carries input; a process that reads no more gets no more.
async fn feed(mut stdin: Sender, mut input: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = input.recv().await {
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn show(terminal: &Terminal, to: &mpsc::Sender<OneOffOutput>) {
    let mut piece = vec![0; ONE_OFF_PIECE];
    while let Ok(count @ 1..) = terminal.read(&mut piece).await {
        if to.send(OneOffOutput::Bytes { bytes: piece[..count].to_vec(), error: false }).await.is_err() {
            return;
        }
    }
}

async fn type_in(terminal: &Terminal, mut input: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = input.recv().await {
        if terminal.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = terminal.write_all(&[END_OF_TYPING]).await;
}

async fn resize(terminal: &Terminal, mut size: watch::Receiver<TerminalSize>) {
    while size.changed().await.is_ok() {
        let now = *size.borrow_and_update();
        if let Err(error) = terminal.resize(now) {
            tracing::debug!(%error, "a terminal keeps its size");
        }
    }
}

async fn pass_on(sandbox: &Sandbox, mut signals: mpsc::Receiver<Signal>) {
    while let Some(signal) = signals.recv().await {
        if let Err(error) = sandbox.signal(signal.number()).await {
            tracing::warn!(sandbox = sandbox.id(), %error, "a signal did not arrive");
        }
    }
}
