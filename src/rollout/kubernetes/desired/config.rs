//! A release's config: an immutable Secret of variables and, where it has files, another one of those, each named by its content.

use super::{Wish, names};
use hythe_model::Fault;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, SecretVolumeSource, Volume, VolumeMount};
use sha2::{Digest, Sha256};

/// The most that a Secret holds, in bytes (the API server's own limit).
const LIMIT: usize = 1 << 20;
/// The volume of files.
pub(crate) const FILES: &str = "files";
/// Every process may read a file, whoever it runs as, and none may write it.
const MODE: i32 = 0o444;

/// The variables.
pub(super) fn variables(wish: &Wish<'_>) -> Result<Secret, Fault> {
    let pairs = wish.release.env.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    secret(wish, "config", &pairs.collect::<Vec<_>>())
}

/// The files, where there are any.
pub(super) fn files(wish: &Wish<'_>) -> Result<Option<Secret>, Fault> {
    let contents = contents(wish);
    (!contents.is_empty()).then(|| secret(wish, FILES, &contents)).transpose()
}

/// A pod's volume of files.
pub(super) fn volume(wish: &Wish<'_>) -> Option<Volume> {
    let contents = contents(wish);
    let source = SecretVolumeSource {
        secret_name: Some(name(FILES, &contents)),
        default_mode: Some(MODE),
        optional: Some(false),
        ..SecretVolumeSource::default()
    };
    let volume = Volume { name: FILES.to_owned(), secret: Some(source), ..Volume::default() };
    (!contents.is_empty()).then_some(volume)
}

/// Where a container has them.
pub(super) fn places(wish: &Wish<'_>) -> impl Iterator<Item = VolumeMount> {
    wish.release.files.iter().map(|file| VolumeMount {
        name: FILES.to_owned(),
        mount_path: file.place.to_string(),
        sub_path: Some(file.key.clone()),
        read_only: Some(true),
        ..VolumeMount::default()
    })
}

/// What files have in them, by key; two may have the same.
fn contents<'a>(wish: &Wish<'a>) -> Vec<(&'a str, &'a str)> {
    let files = wish.release.files.iter();
    let mut all: Vec<_> = files.map(|file| (file.key.as_str(), file.content.as_str())).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn secret(wish: &Wish<'_>, kind: &str, pairs: &[(&str, &str)]) -> Result<Secret, Fault> {
    let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > LIMIT {
        return Err(Fault::new(
            "rollout/config-too-large",
            "The release failed: its config is larger than a cluster's Secret may be.",
        )
        .why(format!("All keys and values together have {bytes} bytes; {LIMIT} are allowed."))
        .next(
            "Keep large values in a file of the image or in a store of their own: hythe config unset KEY",
        ));
    }
    let data =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect();
    Ok(Secret {
        metadata: wish.meta(name(kind, pairs)),
        data: Some(data),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

/// By a hash of all keys and values; lengths go in, so that no two configs run together.
fn name(kind: &str, pairs: &[(&str, &str)]) -> String {
    let mut hash = Sha256::new();
    for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    format!("{kind}-{}", names::short_hash(&hash.finalize()))
}
