//! Orders and groups: which buildpacks are tried, in which sequence.

use crate::{BuildpackId, Version};
use serde::{Deserialize, Serialize};

/// Groups in the order in which they are tried; the first that passes is used.
pub type Order = Vec<Group>;

/// Buildpacks that are tried together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its members; their builds run in this sequence.
    #[serde(rename = "group")]
    pub elements: Vec<GroupElement>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupElement {
    /// The buildpack, which may be a composite.
    pub id: BuildpackId,
    /// Its version; without one, the only version there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Whether the group passes without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}
