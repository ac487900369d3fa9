//! The listener: takes connections in, holds them to the limits, and stops.

use crate::connection::{Connection, watch};
use crate::receive;
use crate::registry::Connections;
use crate::tickets::Tickets;
use crate::{HostKey, KeyDirectory, PushHandler, SshError, SshLimits};
use hythe_source::Repositories;
use russh::keys::{Algorithm, HashAlg};
use russh::server::{Config, run_stream};
use russh::{Disconnect, MethodKind, MethodSet, Preferred, SshId};
use std::borrow::Cow;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the front is put together from.
pub struct SshParts {
    /// Keys and what they may do.
    pub keys: Arc<dyn KeyDirectory>,
    /// What happens with a push.
    pub pushes: Arc<dyn PushHandler>,
    /// The repositories served.
    pub repositories: Repositories,
    /// The server's own key.
    pub host_key: HostKey,
    /// Where hooks call back; its folder exists and is private.
    pub hook_socket: PathBuf,
    /// Limits on connections.
    pub limits: SshLimits,
}

/// Connections beyond the limit that are told so; more are closed without a word.
const TOLD: usize = 32;

/// Time in which clients whose command has ended close their connection.
const LEAVE: Duration = Duration::from_secs(1);

/// Everything that connections share.
pub(crate) struct Shared {
    pub(crate) parts: Arc<SshParts>,
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) connections: Arc<Connections>,
    /// Git commands under way.
    pub(crate) commands: TaskTracker,
    sessions: TaskTracker,
}

/// Serves until `shutdown` fires, then gives running commands their time to end.
pub async fn serve(
    listener: TcpListener,
    parts: SshParts,
    shutdown: CancellationToken,
) -> Result<(), SshError> {
    let hooks = receive::bind(&parts)?;
    let parts = Arc::new(parts);
    let tickets = Arc::new(Tickets::default());
    let config = Arc::new(config(&parts));
    let answering = tokio::spawn(receive::listen(hooks, Arc::clone(&parts), Arc::clone(&tickets)));
    let shared = Arc::new(Shared {
        parts,
        tickets,
        connections: Arc::default(),
        commands: TaskTracker::new(),
        sessions: TaskTracker::new(),
    });
    let stopped = CancellationToken::new();
    let outcome = loop {
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => admit(stream, peer.ip(), &shared, &config, &stopped),
                Err(error) if is_passing(&error) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => break Err(SshError::Accept(error)),
            }
        }
    };
    drop(listener);
    shared.commands.close();
    if tokio::time::timeout(shared.parts.limits.drain, shared.commands.wait()).await.is_err() {
        tracing::warn!(commands = shared.commands.len(), "SSH commands are cut off by the server's end");
    }
    // Clients whose command has ended close by themselves; a disconnect would come before the exit code they wait for.
    shared.sessions.close();
    let _ = tokio::time::timeout(LEAVE, shared.sessions.wait()).await;
    stopped.cancel();
    answering.abort();
    let _ = std::fs::remove_file(&shared.parts.hook_socket);
    outcome
}

/// Errors of accept that concern one connection, or a shortage that passes.
fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
        || matches!(
            error.raw_os_error(),
            Some(nix::libc::EMFILE | nix::libc::ENFILE | nix::libc::ENOBUFS | nix::libc::ENOMEM)
        )
}

/// Takes one connection in, or tells it why not.
fn admit(
    stream: TcpStream,
    address: IpAddr,
    shared: &Arc<Shared>,
    config: &Arc<Config>,
    stopped: &CancellationToken,
) {
    let (counted, all, same) = shared.connections.enter(address.to_canonical());
    let limits = &shared.parts.limits;
    let too_many = all > limits.strangers || same > limits.strangers_per_address;
    if all > limits.strangers + TOLD || same > limits.strangers_per_address + TOLD {
        tracing::warn!(connections = all, "an SSH connection was closed: there are too many");
        return;
    }
    let _ = stream.set_nodelay(true);
    let (config, stopped) = (Arc::clone(config), stopped.clone());
    let sessions = shared.sessions.clone();
    let shared = Arc::clone(shared);
    sessions.spawn(async move {
        let connection = Connection::new(Arc::clone(&shared), counted);
        let state = connection.state();
        let starting =
            tokio::time::timeout(shared.parts.limits.login, run_stream(config, stream, connection));
        let session = match starting.await {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => return tracing::debug!(%error, "an SSH connection failed at its start"),
            Err(_) => return tracing::debug!("a connection did not begin to speak SSH in time"),
        };
        let handle = session.handle();
        if too_many {
            let said = "Too many connections are logging in at once: try again in a moment.".to_owned();
            let _ = handle.disconnect(Disconnect::TooManyConnections, said, String::new()).await;
        }
        tokio::select! {
            ended = session => if let Err(error) = ended {
                tracing::debug!(%error, "an SSH connection ended");
            },
            () = watch(&state, &shared.parts.limits, &handle) => {}
            () = stopped.cancelled() => {
                let said = "The server is being restarted: try again in a moment.".to_owned();
                let _ = handle.disconnect(Disconnect::ByApplication, said, String::new()).await;
            }
        }
    });
}

/// Public keys only, no compression, nothing that rests on SHA-1.
fn config(parts: &SshParts) -> Config {
    let key = [
        Algorithm::Ed25519,
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    let ecdsa = Preferred::DEFAULT.key.iter().filter(|key| matches!(key, Algorithm::Ecdsa { .. })).cloned();
    Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Hythe")),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(300),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![parts.host_key.key.clone()],
        window_size: 8 << 20,
        maximum_packet_size: 32768,
        channel_buffer_size: 64,
        event_buffer_size: 16,
        preferred: Preferred {
            key: Cow::Owned(key.into_iter().chain(ecdsa).collect()),
            compression: Cow::Borrowed(&[russh::compression::NONE]),
            ..Preferred::DEFAULT
        },
        max_auth_attempts: 12,
        // The last resort, after our own limits have had their say.
        inactivity_timeout: Some(parts.limits.stall + parts.limits.login + Duration::from_secs(10)),
        keepalive_interval: Some(parts.limits.keepalive),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    }
}
