//! What is kept out of logs and faults: every config value that something which runs may hold.

use crate::Platform;
use crate::cancel::Cancel;
use hythe_events::Masker;
use hythe_model::{Fault, ToolName};
use secrecy::ExposeSecret;
use std::collections::BTreeSet;

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
