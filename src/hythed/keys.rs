//! The keys of the platform: made once, and the same in every server that shares the work.
//!
//! They are files that the server's user alone may read, not rows: the ring opens what rows seal, so that a copy of the database
//! opens nothing. Where several servers share the folder, one makes what is missing while it holds a lease; the others wait.

use crate::folders::Data;
use crate::settings::Settings;
use crate::tls;
use anyhow::{Context, Result, ensure};
use hythe_auth::KeyRing;
use hythe_ssh::HostKey;
use hythe_store::{Lease, SealedValue, Store};
use std::time::{Duration, Instant};

/// The lease of whoever makes keys.
const LEASE: &str = "keys";
/// The lease that the platform's ring has, by its fingerprint.
const RING: &str = "ring";
/// The lease that the installation has, by its number.
const INSTALLATION: &str = "installation";
/// Longer than any platform lives.
const FOR_EVER: Duration = Duration::from_hours(100 * 365 * 24);
/// How long making them may take.
const MAKING: Duration = Duration::from_secs(30);
/// How long another server that makes them is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// The ring that seals config values; every other key is there afterwards too.
pub(crate) async fn open(settings: &Settings, data: &Data, store: &Store) -> Result<KeyRing> {
    if data.objects().is_none() {
        let ring = KeyRing::load(&data.keys())?;
        check(data, store, &ring).await?;
        return Ok(ring);
    }
    let lease = alone(store).await?;
    let opened = async {
        let ring = make(settings, data)?;
        check(data, store, &ring).await?;
        Ok(ring)
    };
    let ring = opened.await;
    store.release_lease(&lease).await?;
    ring
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
        ensure!(
            Instant::now() < deadline,
            "another server makes the keys and does not finish; look at its log"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A refusal where the ring is not the platform's, as where rows are elsewhere and the data folder is not the one that belongs to them:
/// this server would run tools without their config, and know neither the others' tokens nor their host key.
async fn check(data: &Data, store: &Store, ring: &KeyRing) -> Result<()> {
    let refusal = || {
        format!(
            "the keys in {} are not those of this platform: its rows are sealed with others. Give this server those, and the data folder that \
             belongs to the rows; every server needs the same ([server] keys). Where they are lost for good: hythed rotate-keys --keys-lost",
            data.keys().display()
        )
    };
    if store.lease(RING).await?.is_none() {
        // One of them may have been lost long ago.
        let values = store.sealed_values().await?;
        let opens = |value: &SealedValue| ring.open(&value.tool, &value.key, &value.sealed).is_ok();
        ensure!(values.is_empty() || values.iter().any(opens), refusal());
    }
    ensure!(note(store, ring).await?, refusal());
    Ok(())
}

/// Notes the platform's ring where none is noted, or one that this ring follows by a rotation; `false` where it is another one. The note
/// is a lease that never runs out.
pub(crate) async fn note(store: &Store, ring: &KeyRing) -> Result<bool> {
    let own = ring.fingerprint();
    if store.acquire_lease(RING, &own, FOR_EVER).await?.is_some() {
        return Ok(true);
    }
    match store.lease(RING).await? {
        Some(noted) if ring.is_known_by(&noted.holder) => {
            store.release_lease(&noted).await?;
            Ok(store.acquire_lease(RING, &own, FOR_EVER).await?.is_some())
        }
        _ => Ok(false),
    }
}

/// Notes this ring in place of one that is lost.
pub(crate) async fn note_anew(store: &Store, ring: &KeyRing) -> Result<()> {
    if let Some(noted) = store.lease(RING).await? {
        store.release_lease(&noted).await?;
    }
    ensure!(note(store, ring).await?, "another server has noted its keys just now");
    Ok(())
}

/// This installation's number: chosen once and noted in its rows, as the ring is.
pub(crate) async fn installation(store: &Store) -> Result<String> {
    let new = format!("{:016x}", rand::random::<u64>());
    if store.acquire_lease(INSTALLATION, &new, FOR_EVER).await?.is_some() {
        return Ok(new);
    }
    let noted = store.lease(INSTALLATION).await?;
    Ok(noted.context("the installation's number cannot be read")?.holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_installation_has_one_number() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("rows.db")).await.unwrap();
        let first = installation(&store).await.unwrap();
        assert_eq!(installation(&store).await.unwrap(), first);
    }

    #[tokio::test]
    async fn another_ring_is_refused_before_anything_is_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("rows.db")).await.unwrap();
        let ring = |name: &str| {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
            KeyRing::load(&folder.path().join(name)).unwrap()
        };
        let (first, other) = (ring("one"), ring("two"));
        assert!(note(&store, &first).await.unwrap());
        assert!(note(&store, &ring("one")).await.unwrap(), "a second server with the same");
        assert!(!note(&store, &other).await.unwrap());
        first.rotate().unwrap();
        assert!(note(&store, &first).await.unwrap(), "it follows the one that is noted");
        first.retire_old().unwrap();
        assert!(note(&store, &first).await.unwrap());
        assert!(!note(&store, &other).await.unwrap());
        note_anew(&store, &other).await.unwrap();
        assert!(note(&store, &other).await.unwrap() && !note(&store, &first).await.unwrap());
    }
}
