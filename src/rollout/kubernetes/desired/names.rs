//! What things are called, and the labels that tell whose they are.

use super::Wish;
use crate::kubernetes::settings::ClusterSettings;
use hythe_cluster::{LABEL_TOOL, Owner};
use hythe_model::{ProcessType, ToolName};
use kube::api::ObjectMeta;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The process type that a pod runs, as an object's name; of a canary's pods, the name of the canary.
pub(crate) const LABEL_PROCESS: &str = "hythe.dev/process";
/// The release that a pod runs, as in `v14`.
pub(crate) const LABEL_RELEASE: &str = "hythe.dev/release";
/// The process type as it is, where its object's name had to differ.
pub(crate) const NOTE_PROCESS: &str = "hythe.dev/process-type";

/// The server that a one-off command's streams go through.
pub(crate) const NOTE_SERVER: &str = "hythe.dev/server";

/// The namespace of a tool.
pub(crate) fn namespace(settings: &ClusterSettings, tool: &ToolName) -> String {
    format!("{}{tool}", settings.namespace_prefix)
}

/// Labels of everything that is a tool's.
pub(crate) fn labels(wish: &Wish<'_>) -> BTreeMap<String, String> {
    owner(wish.settings, &wish.release.release.tool).labels()
}

/// What the pods of one-off commands are called, before their number.
pub(crate) const ONE_OFF: &str = "run-";

/// What the objects of the web processes' canary are called.
pub(crate) const CANARY: &str = "web-canary";

/// What tells of a pod whose it is, what it runs and of which release; `name` is that of the pods that do the same.
pub(crate) fn of_pod(wish: &Wish<'_>, kind: &ProcessType, name: &str) -> ObjectMeta {
    let mut all = labels(wish);
    all.insert(LABEL_PROCESS.to_owned(), name.to_owned());
    all.insert(LABEL_RELEASE.to_owned(), wish.release.release.number.to_string());
    let notes = BTreeMap::from([(NOTE_PROCESS.to_owned(), kind.to_string())]);
    ObjectMeta { labels: Some(all), annotations: Some(notes), ..ObjectMeta::default() }
}

/// Whom everything of a tool belongs to.
pub(crate) fn owner(settings: &ClusterSettings, tool: &ToolName) -> Owner {
    Owner::new(&settings.platform, LABEL_TOOL, tool)
}

/// The name of a process type's objects: itself where it is a DNS label of at most 40 characters, else what can be kept of
/// it and a hash.
pub(crate) fn of_process(kind: &ProcessType) -> String {
    let text = kind.as_str();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = text.starts_with(|c: char| c.is_ascii_lowercase());
    let is_label = text.len() <= 40 && first && !text.ends_with('-') && text.bytes().all(plain);
    // Pods whose names begin like those of one-off commands may be attached to.
    if is_label && text != CANARY && !text.starts_with(ONE_OFF) {
        return text.to_owned();
    }
    let kept: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(27)
        .collect();
    format!("p-{}-{}", kept.trim_matches('-'), short_hash(text.as_bytes()))
}

/// Ten hexadecimal digits that stand for these bytes.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(10);
    for byte in Sha256::digest(bytes).iter().take(5) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
