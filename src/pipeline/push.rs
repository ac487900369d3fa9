//! A push: the corridor's entrance.

use crate::Platform;
use hythe_model::{BuildId, Fault, PushRequest, ReleaseNumber};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Where lines for the pusher's eyes go. Bounded: a slow reader slows the reader of the log, never the build.
pub type Screen = mpsc::Sender<String>;

/// How a push ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// The release is live and the ref has moved.
    Live {
        /// The release.
        release: ReleaseNumber,
    },
    /// The build is durably queued and the ref has not moved.
    Detached {
        /// The build.
        build: BuildId,
    },
}

impl Platform {
    /// Takes a push all the way, or says why not. `cancel` counts until the route switches.
    pub async fn push(&self, request: PushRequest, screen: Screen, cancel: CancellationToken) -> Result<PushOutcome, Fault> {
        todo!()
    }
}
