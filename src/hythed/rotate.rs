//! `hythed rotate-keys`: a new key for config values, and all of them sealed again under it.

use crate::control::{self, Lock};
use crate::keys;
use crate::settings::Settings;
use anyhow::{Context, Result};
use hythe_auth::KeyRing;
use hythe_store::SealedValue;

/// Makes a new key, seals every value again and retires the old keys. Cut off at any point, every value can still be
/// opened, and the next run finishes the work.
pub(crate) fn main(settings: &Settings) -> Result<()> {
    let data = settings.data()?;
    let _lock =
        Lock::take(&data).context("the keys can be rotated while the server is stopped; tools run on")?;
    let runtime = control::runtime()?;
    runtime.block_on(async {
        let ring = KeyRing::load(&data.keys())?;
        let store = settings.store(&data).await?;
        let number = ring.rotate()?;
        let values = store.sealed_values().await?;
        let count = values.len();
        let sealed: Vec<_> = values.into_iter().map(|value| reseal(&ring, value)).collect::<Result<_>>()?;
        store.reseal(sealed).await?;
        anyhow::ensure!(keys::note(&store, &ring).await?, "the keys are not those of this platform");
        ring.retire_old()?;
        println!("{count} values are sealed under key {number}; the old keys are gone");
        Ok(())
    })
}

fn reseal(ring: &KeyRing, value: SealedValue) -> Result<SealedValue> {
    let plain = ring
        .open(&value.tool, &value.key, &value.sealed)
        .with_context(|| format!("{} of {} cannot be opened", value.key, value.tool))?;
    Ok(SealedValue { sealed: ring.seal(&value.tool, &value.key, &plain)?, ..value })
}
