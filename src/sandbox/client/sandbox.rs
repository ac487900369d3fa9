//! A sandbox that was started.

use super::Helper;
use crate::wire::Request;
use crate::{Exit, ResourceUsage, SandboxError};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a connection inside a sandbox may take: only a full backlog makes it more than a moment.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle to a sandbox. Dropping it changes nothing; [`Sandbox::release`] forgets the sandbox.
#[derive(Debug, Clone)]
pub struct Sandbox {
    helper: Helper,
    id: String,
}

impl Sandbox {
    pub(super) fn new(helper: Helper, id: String) -> Self {
        Self { helper, id }
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits for its end. Its output is complete by then.
    pub async fn wait(&self) -> Result<Exit, SandboxError> {
        self.helper.wait(&self.id).await
    }

    /// Sends a signal to its first process. One that has ended gets nothing, which is no error.
    pub async fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        self.helper.ask(Request::Signal { id: self.id.clone(), signal }).await
    }

    /// Ends all its processes at once.
    pub async fn kill(&self) -> Result<(), SandboxError> {
        self.helper.ask(Request::Kill { id: self.id.clone() }).await
    }

    /// What it uses now.
    pub async fn usage(&self) -> Result<ResourceUsage, SandboxError> {
        self.helper.ask(Request::Usage { id: self.id.clone() }).await
    }

    /// Kills it where it still runs, forgets it and removes its root's upper folder.
    pub async fn release(&self) -> Result<(), SandboxError> {
        self.helper.ask(Request::Release { id: self.id.clone() }).await
    }

    /// A TCP connection to a port of its loopback; the stream is non-blocking.
    pub async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        let answer = self.helper.call_dial(&Request::Dial { id: self.id.clone() }).await;
        let mut answer = answer.map_err(io::Error::other)?;
        let socket = answer.fds.pop().ok_or_else(|| io::Error::other("the sandbox helper sent no socket"))?;
        let socket = tokio::net::TcpSocket::from_std_stream(TcpStream::from(socket));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match tokio::time::timeout(DIAL_TIMEOUT, socket.connect(address)).await {
            Ok(stream) => stream?.into_std(),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
