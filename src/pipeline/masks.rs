//! What is kept out of logs and faults: every config value that something which runs may hold.

use crate::Platform;
use crate::cancel::Cancel;
use hythe_events::{Masker, MaskerOf};
use hythe_model::{Fault, ToolName};
use hythe_store::StoreError;
use secrecy::ExposeSecret;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Releases of a tool of which something may still run, or run already: the newest.
const RUNNING: u32 = 3;

impl Platform {
    /// Masks the values of these versions of a tool's config, of the live release's and of the newest: beside what comes,
    /// what serves or leaves may still print.
    pub(crate) async fn masker(
        &self,
        tool: &ToolName,
        versions: impl IntoIterator<Item = i64>,
    ) -> Result<Masker, Fault> {
        let mut all: BTreeSet<i64> = versions.into_iter().collect();
        all.insert(self.store().latest_config(tool).await?);
        all.extend(self.store().live_release(tool).await?.map(|live| live.config));
        let mut values = Vec::new();
        for version in all {
            values.extend(self.open_config(tool, version).await?);
        }
        Ok(Masker::new(values.iter().map(|entry| entry.value.expose_secret())))
    }

    /// Lets the log ask for what is to be masked of tools that other servers roll out.
    pub(crate) fn mask_logs(&self) {
        let own = Arc::downgrade(&self.inner);
        let masker_of: MaskerOf = Arc::new(move |tool| {
            let own = own.clone();
            Box::pin(async move {
                let Some(inner) = own.upgrade() else { return Ok(None) };
                Self { inner }.masker_of_running(&tool).await
            })
        });
        self.logs().mask_by(masker_of);
    }

    /// Masks what anything of a tool that runs may print, whichever server started it; `None` where there is no such tool.
    async fn masker_of_running(&self, tool: &ToolName) -> Result<Option<Masker>, Fault> {
        match self.store().releases(tool, RUNNING).await {
            Ok(releases) => {
                let configs = releases.into_iter().map(|release| release.config);
                self.masker(tool, configs).await.map(Some)
            }
            Err(StoreError::Absent { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Why something ended, as it may be stored and shown: the reason it was asked for, or the fault, masked.
    pub(crate) async fn told(&self, tool: &ToolName, fault: Fault, cancel: &Cancel) -> Fault {
        if cancel.is_asked() {
            return cancel.fault();
        }
        match self.masker(tool, []).await {
            Ok(masker) => masker.mask_fault(fault),
            // Without the values nobody knows what the lines hold.
            Err(_) => Fault { why: Vec::new(), ..fault },
        }
    }
}
