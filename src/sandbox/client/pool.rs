//! Connections to the helper, reused.

use crate::SandboxError;
use crate::wire::{Frame, Incoming, Outgoing};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

/// Idle connections that are kept.
const IDLE: usize = 16;
/// Connections at one time; further requests wait for their turn.
const MOST: usize = 1000;

#[derive(Debug)]
pub(super) struct Pool {
    socket: PathBuf,
    idle: Mutex<Vec<UnixStream>>,
    turns: Semaphore,
}

impl Pool {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::default(), turns: Semaphore::new(MOST) }
    }

    /// Whether somebody listens at the socket.
    pub(super) async fn reachable(&self) -> bool {
        match UnixStream::connect(&self.socket).await {
            Ok(stream) => {
                self.put_back(stream);
                true
            }
            Err(_) => false,
        }
    }

    /// Sends a frame and waits for the answer.
    pub(super) async fn exchange(
        &self,
        operation: &'static str,
        frame: Frame,
    ) -> Result<Frame, SandboxError> {
        let lost = |source| SandboxError::Lost { operation, source };
        let mut outgoing = Outgoing::new(frame).map_err(lost)?;
        let _turn = self.turns.acquire().await.map_err(|error| lost(io::Error::other(error)))?;
        let stream = self.connection().await?;
        stream.async_io(Interest::WRITABLE, || outgoing.step(&stream)).await.map_err(lost)?;
        drop(outgoing);
        let mut incoming = Incoming::default();
        let frame = stream.async_io(Interest::READABLE, || incoming.step(&stream)).await.map_err(lost)?;
        let frame = frame.ok_or_else(|| lost(io::ErrorKind::UnexpectedEof.into()))?;
        self.put_back(stream);
        Ok(frame)
    }

    async fn connection(&self) -> Result<UnixStream, SandboxError> {
        while let Some(stream) = self.take() {
            // An idle connection says nothing: readable means that the helper has ended.
            let mut byte = [0];
            if matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                return Ok(stream);
            }
        }
        let connected = UnixStream::connect(&self.socket).await;
        connected.map_err(|source| SandboxError::Connect { socket: self.socket.clone(), source })
    }

    fn take(&self) -> Option<UnixStream> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_back(&self, stream: UnixStream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(stream);
        }
    }
}
