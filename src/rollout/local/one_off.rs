//! Commands that run once in a release's image.

use super::sandbox::{Sandboxes, not_started, one_off_spec, reason};
use crate::runtime::{OneOff, OneOffOutput, OneOffSession};
use hythe_model::Fault;
use hythe_sandbox::{Sandbox, Stdio};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Pieces of output that wait for their reader; then the process waits.
const WAITING: usize = 64;
const PIECE: usize = 16 << 10;

/// Starts a one-off process. Cancelling the token, or dropping the session, ends it.
pub(super) async fn start(
    sandboxes: &Sandboxes,
    run: OneOff,
    cancel: CancellationToken,
) -> Result<OneOffSession, Fault> {
    let release = &run.release;
    let args = run.command();
    let image = sandboxes.image(release).await?;
    let spec = one_off_spec(sandboxes, release, image, args)?;
    let (stdout, out) = pipe().map_err(|error| no_pipe(&error))?;
    let (stderr, err) = pipe().map_err(|error| no_pipe(&error))?;
    let stdio = Stdio::Fds { stdin: None, stdout: out, stderr: err };
    let (sender, output) = mpsc::channel(WAITING);
    let limits = release.settings.limits.clone();
    let session = OneOffSession::new(output, cancel.clone());
    let (helper, ends) = (sandboxes.parts.helper.clone(), cancel);
    let (say_started, started) = oneshot::channel();
    // Not a part of this future: who drops it in the middle of the start must not leave a process behind.
    tokio::spawn(async move {
        let sandbox = match helper.run(spec, stdio).await {
            Ok(sandbox) => sandbox,
            Err(error) => return drop(say_started.send(Err(not_started(&error)))),
        };
        let _ = say_started.send(Ok(()));
        let exit = carry(&sandbox, stdout, stderr, &sender, ends).await;
        let exit = exit.map(|exit| reason(&exit, limits.memory_bytes, limits.disk_bytes, Vec::new()));
        if let Ok(exit) = exit {
            let _ = sender.send(OneOffOutput::Exit(exit)).await;
        }
        if let Err(error) = sandbox.release().await {
            tracing::warn!(sandbox = sandbox.id(), %error, "cannot forget a one-off process");
        }
    });
    started.await.map_err(|error| no_pipe(&io::Error::other(error)))??;
    Ok(session)
}

fn pipe() -> io::Result<(Receiver, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((Receiver::from_owned_fd(reader.into())?, writer.into()))
}

fn no_pipe(error: &io::Error) -> Fault {
    Fault::new("rollout/not-started", "The command could not be started.").why(error.to_string())
}

/// Carries output until both streams have ended, then waits for the end.
async fn carry(
    sandbox: &Sandbox,
    stdout: Receiver,
    stderr: Receiver,
    sender: &mpsc::Sender<OneOffOutput>,
    cancel: CancellationToken,
) -> Result<hythe_sandbox::Exit, hythe_sandbox::SandboxError> {
    let both = async { tokio::join!(pump(stdout, false, sender), pump(stderr, true, sender)) };
    if cancel.run_until_cancelled(both).await.is_none() {
        sandbox.kill().await?;
    }
    // A process that closed its output may run on.
    if let Some(exit) = cancel.run_until_cancelled(sandbox.wait()).await {
        return exit;
    }
    sandbox.kill().await?;
    sandbox.wait().await
}

async fn pump(mut from: impl AsyncRead + Unpin, error: bool, to: &mpsc::Sender<OneOffOutput>) {
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let bytes = piece[..count].to_vec();
        if to.send(OneOffOutput::Bytes { bytes, error }).await.is_err() {
            return;
        }
    }
}
