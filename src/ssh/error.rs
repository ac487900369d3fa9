//! What can go wrong with the server itself, one variant an operation.

use std::io;
use std::path::PathBuf;

/// A failure of the SSH front.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The host key could not be read or made.
    #[error("cannot use the host key {path}: {why}")]
    HostKey {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The socket on which hooks call back could not be made.
    #[error("cannot listen on {path}: {source}")]
    HookSocket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Connections can no longer be accepted.
    #[error("cannot accept SSH connections: {0}")]
    Accept(io::Error),
}
