//! The keys of the platform: made once, and the same in every server that shares the work.
//!
//! They are files that the server's user alone may read, not rows: the ring opens what rows seal, so that a copy of the database
//! opens nothing. Where several servers share the folder, one makes what is missing while it holds a lease; the others wait.

use crate::folders::Data;
use crate::settings::Settings;
use crate::tls;
use anyhow::{Context, Result};
use hythe_auth::KeyRing;
use hythe_ssh::HostKey;
use hythe_store::{Lease, Store};
use std::time::{Duration, Instant};

/// The lease of whoever makes keys.
const LEASE: &str = "keys";
/// How long making them may take.
const MAKING: Duration = Duration::from_secs(30);
/// How long another server that makes them is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// The ring that seals config values; every other key is there afterwards too.
pub(crate) async fn open(settings: &Settings, data: &Data, store: &Store) -> Result<KeyRing> {
    if data.objects().is_none() {
        return Ok(KeyRing::load(&data.keys())?);
    }
    let lease = alone(store).await?;
    let made = make(settings, data);
    store.release_lease(&lease).await?;
    let ring = made?;
    check(data, store, &ring).await?;
    Ok(ring)
}

fn make(settings: &Settings, data: &Data) -> Result<KeyRing> {
    let ring = KeyRing::load(&data.keys())?;
    HostKey::open_or_create(&data.host_key())?;
    tls::make_authority(settings, data)?;
    Ok(ring)
}

async fn alone(store: &Store) -> Result<Lease> {
    let holder = format!("{}-{}", std::process::id(), rand::random::<u64>());
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(lease) = store.acquire_lease(LEASE, &holder, MAKING).await? {
            return Ok(lease);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "another server makes the keys and does not finish; look at its log"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A refusal where the ring is not the one that the rows were sealed by: this server would run tools without their config.
async fn check(data: &Data, store: &Store, ring: &KeyRing) -> Result<()> {
    let Some(value) = store.sealed_values().await?.into_iter().next() else { return Ok(()) };
    ring.open(&value.tool, &value.key, &value.sealed).map(drop).with_context(|| {
        format!(
            "the keys in {} are not those that the database's values are sealed by; every server needs the same ([server] keys)",
            data.keys().display()
        )
    })
}
