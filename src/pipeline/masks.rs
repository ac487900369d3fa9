//! What is kept out of logs and faults: every config value that something which runs may hold.

use crate::cancel::Cancel;
use crate::log::BuildLog;
use crate::{ConfigEntry, Platform, faults};
use hythe_events::{EventsError, Masker, MaskerOf, Printing, Secret};
use hythe_model::render::size;
use hythe_model::{Fault, Release, ReleaseNumber, ReleaseState, ToolName};
use hythe_rollout::JobRun;
use hythe_store::StoreError;
use secrecy::ExposeSecret;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The newest releases of a tool, of which something may run already, or just now still.
const NEWEST: u32 = 3;
/// Bytes of the values that are opened to be masked.
const OPENED: usize = 8 << 20;
/// How often a build's log tries to know what is to be masked in it, and how long it waits between.
const ATTEMPTS: u32 = 3;
const AGAIN: Duration = Duration::from_secs(2);

impl Platform {
    /// Masks the values of a tool's newest config, of this version of it where one is said, and of every release that may print
    /// something: these, the newest ones, what serves, and all of which anything is known to run.
    pub(crate) async fn masker(
        &self,
        tool: &ToolName,
        printing: Printing,
        config: Option<i64>,
    ) -> Result<Masker, Fault> {
        self.masker_beside(tool, printing, config, Vec::new()).await
    }

    /// A fault where these values would be too many to be masked, beside those that may be printed already.
    pub(crate) async fn expect_maskable(&self, tool: &ToolName, set: Vec<ConfigEntry>) -> Result<(), Fault> {
        match self.masker_beside(tool, Printing::new(), None, set).await {
            Err(fault) if fault.id == faults::UNMASKABLE => Err(fault),
            // Whatever else is wrong with what was there before: setting it anew mends it.
            _ => Ok(()),
        }
    }

    async fn masker_beside(
        &self,
        tool: &ToolName,
        printing: Printing,
        config: Option<i64>,
        set: Vec<ConfigEntry>,
    ) -> Result<Masker, Fault> {
        let releases = self.may_print(tool, printing).await?;
        let mut versions: BTreeSet<i64> = releases.iter().map(|release| release.config).collect();
        versions.extend(config);
        versions.insert(self.store().latest_config(tool).await?);
        let files: BTreeSet<String> =
            releases.into_iter().flat_map(|release| release.project.files.into_values()).collect();
        let (mut values, mut bytes) = (set, 0);
        for version in versions {
            let opened = self.open_config(tool, version).await?;
            bytes += opened.iter().map(|entry| entry.value.expose_secret().len()).sum::<usize>();
            if bytes > OPENED {
                let why =
                    format!("those of the releases that run have more than {} together", size(OPENED as u64));
                return Err(faults::config_unmaskable(tool, &why));
            }
            values.extend(opened);
        }
        // One at a time: of many values it takes memory while it is made.
        let _alone = self.inner.masking.lock().await;
        let made = tokio::task::spawn_blocking(move || masker_of(&values, &files)).await;
        let made = made.map_err(|error| faults::internal("find out what is to be masked", &error))?;
        made.map_err(|error| faults::config_unmaskable(tool, &error))
    }

    /// The releases of which something may print, and these.
    async fn may_print(&self, tool: &ToolName, printing: Printing) -> Result<Vec<Release>, StoreError> {
        let mut releases = self.store().releases(tool, NEWEST).await?;
        // What is left of one that failed is known by its lines.
        releases.retain(|release| release.state != ReleaseState::Failed);
        releases.extend(self.store().live_release(tool).await?);
        for number in printing.into_iter().chain(self.running_releases(tool).await) {
            if !releases.iter().any(|release| release.number == number) {
                releases.extend(self.store().release(tool, number).await?);
            }
        }
        Ok(releases)
    }

    /// The releases of which there are instances, or runs of jobs, as far as the runtime knows by now. Lines of others say whose they
    /// are.
    async fn running_releases(&self, tool: &ToolName) -> BTreeSet<ReleaseNumber> {
        let runtime = &self.parts().runtime;
        let instances = runtime.instances(tool).await.into_iter().map(|instance| instance.id.release);
        let runs = runtime.jobs(tool).await.unwrap_or_default();
        let runs = runs.into_iter().filter(JobRun::is_running).map(|run| run.id.release);
        instances.chain(runs).collect()
    }

    /// Lets the log of a tool ask for what is to be masked in it.
    pub(crate) fn mask_logs(&self) {
        let own = Arc::downgrade(&self.inner);
        let masker_of: MaskerOf = Arc::new(move |tool, printing| {
            let own = own.clone();
            Box::pin(async move {
                let Some(inner) = own.upgrade() else { return Ok(None) };
                let platform = Self { inner };
                match platform.store().releases(&tool, 1).await {
                    Err(StoreError::Absent { .. }) => Ok(None),
                    Err(error) => Err(error.into()),
                    Ok(_) => platform.masker(&tool, printing, None).await.map(Some),
                }
            })
        });
        self.logs().mask_by(masker_of);
    }

    /// Masks in a build's log what is printed from now on, by a build with this version of the config or by a release's own command.
    /// Where it cannot be known what that is, nothing that prints may begin. The masker, to mask what else becomes of it.
    pub(crate) async fn mask_log(
        &self,
        log: &BuildLog,
        tool: &ToolName,
        release: Option<ReleaseNumber>,
        config: Option<i64>,
    ) -> Result<Masker, Fault> {
        if !log.is_kept() {
            return Ok(Masker::default());
        }
        let mut attempts = 1;
        loop {
            match self.masker(tool, release.into_iter().collect(), config).await {
                Ok(masker) => {
                    log.mask(masker.clone());
                    return Ok(masker);
                }
                Err(fault) if attempts == ATTEMPTS || fault.id.starts_with("config/") => return Err(fault),
                Err(fault) => {
                    tracing::warn!(%tool, %fault, "what is to be masked in a build's log is asked for again");
                }
            }
            attempts += 1;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Why something ended, as it may be stored and shown: the reason it was asked for, or the fault, masked. Its lines may be a
    /// release's that does not run any more.
    pub(crate) async fn told(
        &self,
        tool: &ToolName,
        release: Option<ReleaseNumber>,
        fault: Fault,
        cancel: &Cancel,
    ) -> Fault {
        if cancel.is_asked() {
            return cancel.fault();
        }
        match self.masker(tool, release.into_iter().collect(), None).await {
            Ok(masker) => masker.mask_fault(fault),
            // Without the values nobody knows what the lines hold.
            Err(_) => Fault { why: Vec::new(), ..fault },
        }
    }
}

/// Masks these values, of which those with such keys are files.
fn masker_of(values: &[ConfigEntry], files: &BTreeSet<String>) -> Result<Masker, EventsError> {
    Masker::new(values.iter().map(|entry| {
        let value = entry.value.expose_secret();
        if files.contains(&entry.key) { Secret::File(value) } else { Secret::Variable(value) }
    }))
}
