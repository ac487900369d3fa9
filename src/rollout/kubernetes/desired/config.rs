//! A release's config: one immutable Secret, named by its content.

use super::{Wish, names};
use hythe_model::Fault;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use sha2::{Digest, Sha256};

/// The most that a Secret holds, in bytes (the API server's own limit).
const LIMIT: usize = 1 << 20;

pub(crate) fn secret(wish: &Wish<'_>) -> Result<Secret, Fault> {
    let env = &wish.release.env;
    let bytes: usize = env.iter().map(|(key, value)| key.len() + value.len()).sum();
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
    let data = env.iter().map(|(key, value)| (key.clone(), ByteString(value.clone().into_bytes()))).collect();
    Ok(Secret {
        metadata: wish.meta(format!("config-{}", content_hash(env))),
        data: Some(data),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

/// A hash of all keys and values; lengths go in, so that no two configs run together.
fn content_hash(env: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    for text in env.iter().flat_map(|(key, value)| [key, value]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    names::short_hash(&hash.finalize())
}
