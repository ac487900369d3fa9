//! What is kept out of logs and faults: every config value that something which runs may hold.

use crate::Platform;
use crate::cancel::Cancel;
use hythe_events::{Masker, MaskerOf};
use hythe_model::{Fault, ReleaseNumber, ToolName};
use hythe_store::StoreError;
use secrecy::ExposeSecret;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The newest releases of a tool, of which something may run already, or just now still.
const NEWEST: u32 = 3;

impl Platform {
    /// Masks the values of these versions of a tool's config, of the newest, and of every release of which something runs: beside
    /// what comes, what serves, leaves or is a job of long ago may still print.
    pub(crate) async fn masker(
        &self,
        tool: &ToolName,
        versions: impl IntoIterator<Item = i64>,
    ) -> Result<Masker, Fault> {
        let mut all: BTreeSet<i64> = versions.into_iter().collect();
        all.insert(self.store().latest_config(tool).await?);
        let live = self.store().live_release(tool).await?;
        all.extend(live.as_ref().map(|live| live.config));
        let mut running = self.running_releases(tool).await;
        running.retain(|number| live.as_ref().is_none_or(|live| live.number != *number));
        for number in running {
            all.extend(self.store().release(tool, number).await?.map(|release| release.config));
        }
        let mut values = Vec::new();
        for version in all {
            values.extend(self.open_config(tool, version).await?);
        }
        Ok(Masker::new(values.iter().map(|entry| entry.value.expose_secret())))
    }

    /// The releases of which there are instances, or runs of jobs.
    async fn running_releases(&self, tool: &ToolName) -> BTreeSet<ReleaseNumber> {
        let runtime = &self.parts().runtime;
        let instances = runtime.instances(tool).await.into_iter().map(|instance| instance.id.release);
        // What cannot be asked has not been read either.
        let runs = runtime.jobs(tool).await.unwrap_or_default().into_iter().map(|run| run.id.release);
        instances.chain(runs).collect()
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
        match self.store().releases(tool, NEWEST).await {
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
