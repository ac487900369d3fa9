//! `hythed rotate-keys`: a new key for config values, and all of them sealed again under it.

use crate::control::{self, Lock};
use crate::keys;
use crate::settings::Settings;
use anyhow::{Context, Result, ensure};
use hythe_auth::KeyRing;
use hythe_store::SealedValue;

/// Makes a new key, seals every value again and retires the old keys. Cut off at any point, every value can still be
/// opened, and the next run finishes the work. Where keys are `lost`, values that cannot be opened stay as they are.
pub(crate) fn main(settings: &Settings, lost: bool) -> Result<()> {
    let data = settings.data()?;
    let _lock =
        Lock::take(&data).context("the keys can be rotated while the server is stopped; tools run on")?;
    let runtime = control::runtime()?;
    runtime.block_on(async {
        let ring = KeyRing::load(&data.keys())?;
        let store = settings.store(&data).await?;
        let number = ring.rotate()?;
        let (mut sealed, mut unopened) = (Vec::new(), 0);
        for value in store.sealed_values().await? {
            match reseal(&ring, value) {
                Ok(value) => sealed.push(value),
                Err(_) if lost => unopened += 1,
                Err(error) => return Err(error),
            }
        }
        let count = sealed.len();
        store.reseal(sealed).await?;
        if lost {
            keys::note_anew(&store, &ring).await?;
        } else {
            ensure!(
                keys::note(&store, &ring).await?,
                "the keys are not those of this platform; where those are lost for good, say --keys-lost"
            );
        }
        ring.retire_old()?;
        println!("{count} values are sealed under key {number}; the old keys are gone");
        if unopened > 0 {
            println!("{unopened} values cannot be opened any more: tools that have them are to be made anew");
        }
        Ok(())
    })
}

fn reseal(ring: &KeyRing, value: SealedValue) -> Result<SealedValue> {
    let opened = ring.open(&value.tool, &value.key, &value.sealed);
    let plain = opened.with_context(|| {
        format!(
            "{} of {} cannot be opened; where its key is lost for good, say --keys-lost",
            value.key, value.tool
        )
    })?;
    Ok(SealedValue { sealed: ring.seal(&value.tool, &value.key, &plain)?, ..value })
}
