//! Starts the helper again when it dies under a running server.

use super::{Helper, start};
use crate::SandboxError;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// Between two attempts to start it.
const PAUSE: Duration = Duration::from_secs(1);

impl Helper {
    /// Watches the helper and starts another when it has died, with the open files that were kept. Whatever ran in the
    /// old one is gone: who waits for it is told so. Never returns.
    pub async fn guard(&self) {
        loop {
            if let Ok(mut stream) = UnixStream::connect(&self.inner.options.socket).await {
                // It never speaks first: a read ends with the helper.
                let _ = stream.read_u8().await;
                tracing::error!("the sandbox helper has ended, and with it everything that ran");
            }
            match self.start_again().await {
                Ok(()) => tracing::info!("the sandbox helper was started again"),
                Err(error) => {
                    tracing::error!(%error, "the sandbox helper does not start");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn start_again(&self) -> Result<(), SandboxError> {
        if !self.inner.calls.reachable().await {
            start::start(&self.inner.options).await?;
        }
        let kept: Vec<(String, OwnedFd)> = {
            let kept = self.kept();
            kept.iter().filter_map(|(name, fd)| Some((name.clone(), fd.try_clone().ok()?))).collect()
        };
        for (name, fd) in kept {
            self.put_fd(&name, fd).await?;
        }
        Ok(())
    }
}
