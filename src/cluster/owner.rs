//! Whose an object is: labels that tell.

use kube::ResourceExt;
use std::collections::BTreeMap;

/// The installation that an object belongs to.
pub const LABEL_PLATFORM: &str = "hythe.dev/platform";
/// The tool that it belongs to.
pub const LABEL_TOOL: &str = "hythe.dev/tool";
/// The common label of what a program manages, and ours.
const LABEL_MANAGED: &str = "app.kubernetes.io/managed-by";
const MANAGER: &str = "hythe";

/// Whom objects belong to: an installation, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(BTreeMap<String, String>);

impl Owner {
    /// This part of an installation, as a label says it: `hythe.dev/tool` and its name.
    pub fn new(platform: &str, label: &str, value: &impl ToString) -> Self {
        let own = [(LABEL_PLATFORM.to_owned(), platform.to_owned()), (label.to_owned(), value.to_string())];
        Self(own.into())
    }

    /// The labels of what is made for it.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.0.clone();
        labels.insert(LABEL_MANAGED.to_owned(), MANAGER.to_owned());
        labels
    }

    /// Whether an object is its.
    pub fn owns(&self, object: &impl ResourceExt) -> bool {
        self.0.iter().all(|(label, value)| object.labels().get(label) == Some(value))
    }
}

/// What finds everything of an installation.
pub fn selector(platform: &str) -> String {
    format!("{LABEL_MANAGED}={MANAGER},{LABEL_PLATFORM}={platform}")
}
