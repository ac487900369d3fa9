//! The server's end of the hooks.
//!
//! Enter at [`listen`]. A call names its push by a secret; `pre-receive` is judged, `proc-receive` runs the push and
//! streams lines until it has ended. Should the hook go away meanwhile, the push is cancelled.

use crate::judge::{commit, is_zero, judge};
use crate::server::SshParts;
use crate::tickets::{Judgement, Ticket, Tickets};
use crate::wire::{Call, End, HookKind, LONGEST_LINE, Reply, Update, Verdict};
use crate::{PushOutcome, SshError, refusal};
use hythe_model::render::fault_lines;
use hythe_model::{Fault, PushOptions, PushRequest};
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// Lines that wait for a slow screen before the push's own log reader waits.
const SCREEN: usize = 256;
/// The longest line shown, in characters.
const LINE: usize = 1000;

/// Makes the socket on which hooks call.
pub(crate) fn bind(parts: &SshParts) -> Result<UnixListener, SshError> {
    let path = &parts.hook_socket;
    let failed = |source| SshError::HookSocket { path: path.clone(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Answers hooks until it is dropped.
pub(crate) async fn listen(listener: UnixListener, parts: Arc<SshParts>, tickets: Arc<Tickets>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let (parts, tickets) = (Arc::clone(&parts), Arc::clone(&tickets));
                tokio::spawn(async move {
                    if let Err(error) = answer(socket, &parts, &tickets).await {
                        tracing::warn!(%error, "a hook was not answered to its end");
                    }
                });
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept a hook's call");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(socket: UnixStream, parts: &Arc<SshParts>, tickets: &Tickets) -> io::Result<()> {
    let (reader, writer) = socket.into_split();
    let mut reader = BufReader::new(reader.take(LONGEST_LINE));
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).await?;
    let call: Call = serde_json::from_slice(&line)?;
    let ticket = tickets.find(&call.token).ok_or_else(|| io::Error::other("no push has this secret"))?;
    let _working = ticket.work(call.hook);
    let mut talk = Talk { writer, hook: reader.into_inner().into_inner() };
    match call.hook {
        HookKind::PreReceive => {
            pre_receive(parts, &ticket, call).await;
            talk.send(&Reply::Verdicts(Vec::new())).await
        }
        HookKind::ProcReceive => {
            let verdicts = proc_receive(parts, &ticket, &call, &mut talk).await?;
            talk.send(&Reply::Verdicts(verdicts)).await
        }
    }
}

/// Finds out what is wrong with the push; `proc-receive` tells it, because only there can git show a reason of ours.
async fn pre_receive(parts: &Arc<SshParts>, ticket: &Arc<Ticket>, call: Call) {
    let names: HashSet<String> = call.updates.iter().map(|update| update.reference.clone()).collect();
    let refuse_all = |fault: Fault| Judgement {
        refused: names.iter().map(|name| (name.clone(), fault.clone())).collect(),
        ..Judgement::default()
    };
    let keep = |judgement| ticket.judge(Judgement { judged: names.clone(), ..judgement });
    let rules = match parts.pushes.rules(&ticket.tool).await {
        Ok(rules) => rules,
        Err(fault) => return keep(refuse_all(fault)),
    };
    let (parts, judged) = (Arc::clone(parts), Arc::clone(ticket));
    let judged =
        tokio::task::spawn_blocking(move || judge(&parts.repositories, &judged, &rules, &call)).await;
    keep(judged.unwrap_or_else(|error| {
        tracing::error!(tool = %ticket.tool, %error, "a push could not be judged");
        refuse_all(refusal::internal())
    }));
}

/// Tells what `pre-receive` found and runs what it let through.
async fn proc_receive(
    parts: &Arc<SshParts>,
    ticket: &Arc<Ticket>,
    call: &Call,
    talk: &mut Talk,
) -> io::Result<Vec<Verdict>> {
    let Some(judgement) = ticket.judgement() else {
        return Err(io::Error::other("proc-receive came without pre-receive"));
    };
    for note in &judgement.notes {
        talk.line(note).await?;
    }
    let atomic = call.atomic && !judgement.refused.is_empty();
    let mut verdicts = Vec::new();
    for update in &call.updates {
        let judged = judgement.judged.contains(&update.reference);
        let end = match judgement.refused.get(&update.reference) {
            None if !judged => return Err(io::Error::other("a ref came that pre-receive did not see")),
            Some(fault) => Err(fault.clone()),
            None if atomic => Err(refusal::atomic()),
            None => run(parts, ticket, call, update, talk).await?,
        };
        let end = match end {
            Ok(end) => end,
            Err(fault) => {
                for line in fault_lines(&fault) {
                    talk.line(&line).await?;
                }
                End::Refused(refusal::reason(&fault))
            }
        };
        verdicts.push(Verdict { reference: update.reference.clone(), end });
    }
    Ok(verdicts)
}

/// Runs the push of one branch. The handler goes on by itself if the hook goes away; its token tells it.
async fn run(
    parts: &Arc<SshParts>,
    ticket: &Arc<Ticket>,
    call: &Call,
    update: &Update,
    talk: &mut Talk,
) -> io::Result<Result<End, Fault>> {
    let request = match request(ticket, call, update) {
        Ok(request) => request,
        Err(fault) => return Ok(Err(fault)),
    };
    let (screen, mut lines) = mpsc::channel(SCREEN);
    let (handler, cancel) = (Arc::clone(&parts.pushes), ticket.cancel.clone());
    let mut push = tokio::spawn(async move { handler.push(request, screen, cancel).await });
    let outcome = loop {
        tokio::select! {
            biased;
            Some(line) = lines.recv() => if let Err(error) = talk.line(&line).await {
                ticket.cancel.cancel();
                return Err(error);
            },
            outcome = &mut push => break outcome,
            () = talk.gone() => {
                ticket.cancel.cancel();
                return Err(io::Error::other("the hook went away"));
            }
        }
    };
    while let Ok(line) = lines.try_recv() {
        talk.line(&line).await?;
    }
    let outcome = outcome.unwrap_or_else(|error| {
        tracing::error!(tool = %ticket.tool, %error, "a push ended in a panic");
        Err(refusal::internal())
    });
    Ok(outcome.map(|outcome| end(&outcome, update)))
}

fn request(ticket: &Ticket, call: &Call, update: &Update) -> Result<PushRequest, Fault> {
    let options = PushOptions::parse(call.options.iter().map(String::as_str));
    Ok(PushRequest {
        tool: ticket.tool.clone(),
        actor: ticket.identity.actor.clone(),
        reference: update.reference.clone(),
        old: if is_zero(&update.old) { None } else { Some(commit(&update.old)?) },
        new: commit(&update.new)?,
        options: options.map_err(|error| refusal::option(&error))?,
    })
}

fn end(outcome: &PushOutcome, update: &Update) -> End {
    match outcome {
        PushOutcome::Live { .. } => End::Moved,
        PushOutcome::Detached { build } => {
            End::Instead { reference: format!("refs/hythe/builds/{build}"), new: update.new.clone() }
        }
    }
}

/// The socket to one hook.
struct Talk {
    writer: OwnedWriteHalf,
    hook: OwnedReadHalf,
}

impl Talk {
    async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        self.writer.write_all(&line).await
    }

    /// A line for the screen, made harmless for a terminal.
    async fn line(&mut self, text: &str) -> io::Result<()> {
        for text in text.lines().chain(text.is_empty().then_some("")) {
            self.send(&Reply::Line(printable(text))).await?;
        }
        Ok(())
    }

    /// Resolves when the hook has gone away: it says nothing after its call.
    async fn gone(&mut self) {
        let mut byte = [0];
        let _ = self.hook.read(&mut byte).await;
    }
}

/// A line without escape sequences and other control characters, which would steer the pusher's terminal.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().take(LINE).peekable();
    while let Some(c) = chars.next() {
        match c {
            '\t' => shown.push('\t'),
            '\u{1b}' if chars.peek() == Some(&'[') => {
                // A control sequence ends with a byte from @ to ~ (ECMA-48, 5.4).
                chars.next();
                while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                chars.next();
            }
            c if c.is_control() => {}
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cannot_steer_a_terminal() {
        assert_eq!(printable("\u{1b}[31mred\u{1b}[0m\tplain\r"), "red\tplain");
        assert_eq!(printable("\u{1b}]0;title\u{7}x"), "]0;titlex");
        assert_eq!(printable("a\u{9b}31mb"), "a31mb");
        assert_eq!(printable(&"y".repeat(5000)).len(), LINE);
    }
}
