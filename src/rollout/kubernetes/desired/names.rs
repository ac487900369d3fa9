//! What things are called, and the labels that tell whose they are.

use super::Wish;
use crate::kubernetes::settings::ClusterSettings;
use hythe_model::{ProcessType, ToolName};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The installation that owns an object.
pub(crate) const LABEL_PLATFORM: &str = "hythe.dev/platform";
/// The tool that an object belongs to.
pub(crate) const LABEL_TOOL: &str = "hythe.dev/tool";
/// The process type that a pod runs, as an object's name.
pub(crate) const LABEL_PROCESS: &str = "hythe.dev/process";
/// The release that a pod runs, as in `v14`.
pub(crate) const LABEL_RELEASE: &str = "hythe.dev/release";
/// The common label of what a program manages, and ours.
pub(crate) const LABEL_MANAGED: &str = "app.kubernetes.io/managed-by";
pub(crate) const MANAGER: &str = "hythe";
/// The process type as it is, where its object's name had to differ.
pub(crate) const NOTE_PROCESS: &str = "hythe.dev/process-type";

/// The namespace of a tool.
pub(crate) fn namespace(settings: &ClusterSettings, tool: &ToolName) -> String {
    format!("{}{tool}", settings.namespace_prefix)
}

/// Labels of everything that is a tool's.
pub(crate) fn labels(wish: &Wish<'_>) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_MANAGED.to_owned(), MANAGER.to_owned()),
        (LABEL_PLATFORM.to_owned(), wish.settings.platform.clone()),
        (LABEL_TOOL.to_owned(), wish.release.release.tool.to_string()),
    ])
}

/// What finds everything of this installation.
pub(crate) fn selector(settings: &ClusterSettings) -> String {
    format!("{LABEL_MANAGED}={MANAGER},{LABEL_PLATFORM}={}", settings.platform)
}

/// The name of a process type's objects: itself where it is a DNS label of at most 40 characters, else what can be kept of
/// it and a hash.
pub(crate) fn of_process(kind: &ProcessType) -> String {
    let text = kind.as_str();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = text.starts_with(|c: char| c.is_ascii_lowercase());
    if text.len() <= 40 && first && !text.ends_with('-') && text.bytes().all(plain) {
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
