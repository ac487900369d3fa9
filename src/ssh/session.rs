//! One channel: waits for the command, runs it, and says its end.

use crate::command::GitCommand;
use crate::connection::State;
use crate::git::{self, Ended};
use crate::server::Shared;
use crate::tickets::Ticket;
use crate::{Access, Identity, refusal};
use hythe_model::Fault;
use hythe_model::render::fault_lines;
use hythe_source::Service;
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio_util::sync::CancellationToken;

/// An open channel, counted on its connection.
pub(crate) struct Open(Arc<State>);

impl Open {
    pub(crate) fn new(state: Arc<State>) -> Self {
        state.channels.fetch_add(1, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.channels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a client may set: the version of git's protocol.
pub(crate) fn is_protocol(name: &str, value: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '=' | ':' | '-' | '.');
    name == "GIT_PROTOCOL" && value.len() <= 100 && value.chars().all(allowed)
}

/// Serves a channel from its opening to its end.
pub(crate) async fn run(
    channel: Channel<Msg>,
    shared: Arc<Shared>,
    identity: Identity,
    gone: CancellationToken,
    _open: Open,
) {
    let (mut reader, writer) = channel.split();
    let asked = tokio::select! {
        asked = asked(&mut reader) => asked,
        () = tokio::time::sleep(shared.parts.limits.stall) => None,
        () = gone.cancelled() => None,
    };
    let code = match asked {
        Some(Asked { line, protocol }) => {
            let outcome = command(&line, protocol, &shared, identity, &gone, &mut reader, &writer).await;
            match outcome {
                Ok(code) => code,
                Err(lines) => {
                    let text = format!("{}\n", lines.join("\n"));
                    let _ = writer.extended_data_bytes(1, text.into_bytes()).await;
                    1
                }
            }
        }
        None => 1,
    };
    let _ = writer.exit_status(code).await;
    let _ = writer.eof().await;
    let _ = writer.close().await;
}

struct Asked {
    /// The command; empty where a shell is wanted.
    line: Vec<u8>,
    protocol: Option<String>,
}

/// Waits for the request that starts the channel's work.
async fn asked(reader: &mut ChannelReadHalf) -> Option<Asked> {
    let mut protocol = None;
    loop {
        match reader.wait().await? {
            ChannelMsg::SetEnv { variable_name, variable_value, .. }
                if is_protocol(&variable_name, &variable_value) =>
            {
                protocol = Some(variable_value);
            }
            ChannelMsg::Exec { command, .. } => return Some(Asked { line: command, protocol }),
            ChannelMsg::RequestShell { .. } => return Some(Asked { line: Vec::new(), protocol }),
            ChannelMsg::RequestSubsystem { .. } | ChannelMsg::Close => return None,
            _ => {}
        }
    }
}

/// Runs a git command; the error is the lines that refuse it.
async fn command(
    line: &[u8],
    protocol: Option<String>,
    shared: &Arc<Shared>,
    identity: Identity,
    gone: &CancellationToken,
    reader: &mut ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> Result<u32, Vec<String>> {
    let GitCommand { service, tool } = GitCommand::parse(line).map_err(|line| vec![line])?;
    let access = match service {
        Service::ReceivePack => Access::Push,
        Service::UploadPack => Access::Fetch,
    };
    let told = |fault: Fault| fault_lines(&fault)[1..].to_vec();
    let allowed = shared.parts.keys.may(&identity, access, &tool).await.map_err(told)?;
    if !allowed || !shared.parts.repositories.exists(&tool) {
        return Err(told(refusal::no_tool(&tool, access)));
    }
    let repositories = shared.parts.repositories.clone();
    let served = tool.clone();
    let prepared = tokio::task::spawn_blocking(move || repositories.serve(service, &served)).await;
    let prepared = prepared.map_err(|_| told(refusal::internal()))?.map_err(|error| told(error.fault()))?;
    let ticket = Arc::new(Ticket::new(tool, identity, gone.clone()));
    let opened = shared.tickets.open(Arc::clone(&ticket));
    let child =
        git::Child { command: prepared, protocol, socket: &shared.parts.hook_socket, token: opened.token() };
    let ended = child.run(&ticket, shared.parts.limits.stall, reader, writer).await;
    let limit = shared.parts.repositories.limits().pack_bytes;
    match ended {
        Ok(Ended { code: 0, .. }) => Ok(0),
        Ok(Ended { code, received }) if service == Service::ReceivePack && received > limit => {
            let text = told(refusal::pack_too_big(limit)).join("\n");
            let _ = writer.extended_data_bytes(1, format!("{text}\n").into_bytes()).await;
            Ok(code)
        }
        Ok(Ended { code, .. }) => Ok(code),
        Err(fault) => Err(told(fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_protocol_version_is_taken_over() {
        assert!(is_protocol("GIT_PROTOCOL", "version=2"));
        assert!(is_protocol("GIT_PROTOCOL", "version=1:agent=git-2.39"));
        assert!(!is_protocol("GIT_PROTOCOL", "version=2\nPATH=/tmp"));
        assert!(!is_protocol("LD_PRELOAD", "version=2") && !is_protocol("GIT_PROTOCOL", &"x".repeat(200)));
    }
}
