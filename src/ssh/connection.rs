//! One connection: who it is, and which channels it opens.
//!
//! Only `publickey` is offered; a key is looked up when it is offered and again when it is proven. Only session
//! channels are opened; what a channel asks for is answered yes or no here and acted upon in [`crate::session`].

use crate::registry::Counted;
use crate::server::Shared;
use crate::session::{self, is_protocol};
use crate::{Identity, OfferedKey, SshLimits};
use russh::keys::{Algorithm, HashAlg, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, Pty};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the watch over a connection needs to know.
#[derive(Debug, Default)]
pub(crate) struct State {
    proven: AtomicBool,
    /// Channels open.
    pub(crate) channels: AtomicUsize,
}

/// One client.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    state: Arc<State>,
    counted: Counted,
    identity: Option<Identity>,
    /// Fires when the connection has ended, however it ended: this is dropped with it.
    gone: DropGuard,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, counted: Counted) -> Self {
        let gone = CancellationToken::new().drop_guard();
        Self { shared, state: Arc::default(), counted, identity: None, gone }
    }

    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    async fn look_up(&self, key: &PublicKey, algorithm: &Algorithm) -> Option<Identity> {
        // `ssh-rsa` alone names the signature with SHA-1.
        if *algorithm == (Algorithm::Rsa { hash: None }) {
            return None;
        }
        let offered = OfferedKey {
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            openssh: PublicKey::from(key.key_data().clone()).to_openssh().ok()?,
            blob: key.to_bytes().ok()?,
        };
        match self.shared.parts.keys.authenticate(&offered).await {
            Ok(identity) => identity,
            Err(fault) => {
                tracing::error!(fault = %fault.id, what = %fault.what, "a key could not be looked up");
                None
            }
        }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(match self.look_up(offer.public_key, offer.algorithm).await {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        self.identity = self.look_up(key.public_key, key.algorithm).await;
        Ok(if self.identity.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), russh::Error> {
        let Some(identity) = &self.identity else { return Err(russh::Error::Inconsistent) };
        self.state.proven.store(true, Ordering::Relaxed);
        let limits = &self.shared.parts.limits;
        let (all, of_key) = self.counted.name(&identity.fingerprint);
        let said = if of_key > limits.connections_per_key {
            let limit = limits.connections_per_key;
            format!("This key has {limit} connections already: wait until one has ended.")
        } else if all > limits.connections {
            format!("Hythe serves {} connections at once: try again in a moment.", limits.connections)
        } else {
            return Ok(());
        };
        session.disconnect(Disconnect::TooManyConnections, &said, "")?;
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(identity) = self.identity.clone() else { return Ok(()) };
        let limit = self.shared.parts.limits.commands_per_connection;
        if self.state.channels.load(Ordering::Relaxed) >= limit {
            let reason = format!("{limit} commands run on this connection already");
            reply.reject(ChannelOpenFailure::Other { code: 4, reason }).await;
            return Ok(());
        }
        reply.accept().await;
        let open = session::Open::new(Arc::clone(&self.state));
        let gone = self.gone.token().child_token();
        self.shared.commands.spawn(session::run(channel, Arc::clone(&self.shared), identity, gone, open));
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _line: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        // Granted so that the words that refuse it reach the screen.
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if is_protocol(name, value) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(channel)
    }
}

/// Ends a connection that proves no key in time, or that runs nothing for too long.
pub(crate) async fn watch(state: &State, limits: &SshLimits, handle: &Handle) {
    let mut busy = Instant::now();
    let said = loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        if state.channels.load(Ordering::Relaxed) > 0 {
            busy = Instant::now();
        }
        let proven = state.proven.load(Ordering::Relaxed);
        let limit = if proven { limits.stall } else { limits.login };
        if busy.elapsed() > limit {
            let seconds = limit.as_secs();
            let missed = if proven { "Nothing was asked for" } else { "No key was proven" };
            break format!("{missed} in {seconds} s.");
        }
    };
    let _ = handle.disconnect(Disconnect::ByApplication, said, String::new()).await;
    // The reader of the words closes; one that does not is left to the inactivity limit.
    tokio::time::sleep(Duration::from_secs(2)).await;
}
