//! One channel: waits for the command, runs it, and says its end.

use crate::command::GitCommand;
use crate::connection::State;
use crate::git::{Client, Feed};
use crate::server::Shared;
use crate::tickets::Ticket;
use crate::wire::{SOCKET, TOKEN};
use crate::{Access, Identity, refusal};
use hythe_model::render::fault_lines;
use hythe_model::{Fault, ToolName};
use hythe_source::{Repositories, Service, SourceError};
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time in which a client takes the last words.
const LAST_WORDS: Duration = Duration::from_secs(5);

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
    let (code, words) = match asked {
        None => (1, Vec::new()),
        Some(Asked { line, protocol }) => {
            match command(&line, protocol, &shared, identity, &gone, &mut reader, &writer).await {
                Ok(code) => (code, Vec::new()),
                Err(words) => (1, words),
            }
        }
    };
    // A client that reads nothing is not waited for: its channel would stay open for as long as it likes.
    let _ = tokio::time::timeout(LAST_WORDS, end(&writer, code, &words)).await;
}

/// Says the end of a channel: words on standard error, the exit code, the close.
async fn end(writer: &ChannelWriteHalf<Msg>, code: u32, words: &[String]) -> Result<(), russh::Error> {
    if !words.is_empty() {
        writer.extended_data_bytes(1, format!("{}\n", words.join("\n")).into_bytes()).await?;
    }
    writer.exit_status(code).await?;
    writer.eof().await?;
    writer.close().await
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
        Service::UploadPack => Access::Fetch,
        Service::Advertise | Service::ReceivePack => Access::Push,
    };
    let told = |fault: Fault| lines(&fault);
    let no_tool = || Err(told(refusal::no_tool(&tool, access)));
    if !shared.parts.keys.may(&identity, access, &tool).await.map_err(told)? {
        return no_tool();
    }
    // Until git has ended: it lies here from now on, or is brought here.
    let _in_use = shared.parts.repositories.enter(&tool);
    shared.parts.pushes.prepare(&tool).await.map_err(told)?;
    if !shared.parts.repositories.exists(&tool) {
        return no_tool();
    }
    let ticket = Arc::new(Ticket::new(tool, identity, gone.clone()));
    let client = Client::new(reader, writer, &ticket, shared.parts.limits.stall);
    let work = Work { shared, ticket: &ticket, protocol };
    match service {
        Service::UploadPack => work.fetch(client).await,
        _ => work.push(client, writer).await,
    }
    .map_err(told)
}

/// A command that may run.
struct Work<'a> {
    shared: &'a Arc<Shared>,
    ticket: &'a Arc<Ticket>,
    protocol: Option<String>,
}

impl Work<'_> {
    async fn fetch(self, mut client: Client<'_>) -> Result<u32, Fault> {
        let command = self.git(Service::UploadPack).await?;
        client.run(command, Feed::Client(Vec::new())).await
    }

    /// A push in two halves: between them it is known where a shallow client's history is cut off.
    async fn push(self, mut client: Client<'_>, writer: &ChannelWriteHalf<Msg>) -> Result<u32, Fault> {
        let told = client.run(self.git(Service::Advertise).await?, Feed::Nothing).await?;
        if told != 0 {
            return Ok(told);
        }
        let Some(opening) = client.opening().await? else { return Ok(0) };
        let (cuts, rest) = opening.into_parts();
        let cuts = self.in_repository(move |repositories, tool| repositories.note_cuts(tool, &cuts)).await?;
        let opened = self.shared.tickets.open(Arc::clone(self.ticket));
        let mut command = self.git(Service::ReceivePack).await?;
        command.env(SOCKET, &self.shared.parts.hook_socket).env(TOKEN, opened.token());
        let ended = client.run(command, Feed::Client(rest)).await;
        if !cuts.is_empty() {
            self.in_repository(move |repositories, tool| repositories.forget_cuts(tool, &cuts)).await?;
        }
        let limit = self.shared.parts.repositories.limits().pack_bytes;
        if client.received() > limit && !self.ticket.arrived.is_cancelled() && ended.is_ok() {
            let text = lines(&refusal::pack_too_big(limit)).join("\n");
            let _ = writer.extended_data_bytes(1, format!("{text}\n").into_bytes()).await;
        }
        ended
    }

    async fn git(&self, service: Service) -> Result<std::process::Command, Fault> {
        let mut command =
            self.in_repository(move |repositories, tool| repositories.serve(service, tool)).await?;
        if let Some(protocol) = &self.protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        Ok(command)
    }

    /// Does what blocks where blocking is allowed.
    async fn in_repository<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Repositories, &ToolName) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, Fault> {
        let (repositories, tool) = (self.shared.parts.repositories.clone(), self.ticket.tool.clone());
        match tokio::task::spawn_blocking(move || work(&repositories, &tool)).await {
            Ok(done) => done.map_err(|error| error.fault()),
            Err(_) => Err(refusal::internal()),
        }
    }
}

/// A fault as lines of standard error.
fn lines(fault: &Fault) -> Vec<String> {
    fault_lines(fault).split_off(1)
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
