//! Ending what runs, with the reason that people are told.

use crate::faults;
use hythe_model::Fault;
use hythe_store::BuildOutcome;
use std::sync::OnceLock;
use tokio_util::sync::CancellationToken;

/// Whether and why one build or rollout is to end. The first reason counts.
#[derive(Debug, Default)]
pub(crate) struct Cancel {
    token: CancellationToken,
    reason: OnceLock<Fault>,
    /// Cancelled where another server runs it now: this one writes nothing more about it.
    lost: CancellationToken,
}

impl Cancel {
    /// Asks for the end.
    pub(crate) fn ask(&self, reason: Fault) {
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// Says that it is another server's.
    pub(crate) fn lose(&self) {
        self.lost.cancel();
        self.token.cancel();
    }

    /// Does this work, or none of it any more once it is another server's.
    pub(crate) async fn unless_lost<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.lost.run_until_cancelled(work).await
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.token.is_cancelled()
    }

    /// For the stages, which need no reason.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Why it ended.
    pub(crate) fn fault(&self) -> Fault {
        self.reason.get().cloned().unwrap_or_else(faults::cancelled)
    }

    /// How a build ends that was stopped by this fault.
    pub(crate) fn outcome(&self, fault: Fault) -> BuildOutcome {
        if self.is_asked() { BuildOutcome::Cancelled(fault) } else { BuildOutcome::Failed(fault) }
    }
}
