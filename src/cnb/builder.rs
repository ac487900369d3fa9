//! builder.toml: a stack with ordered buildpacks.

use crate::{BuildpackId, FormatError, Order, Version, read};
use serde::Deserialize;

/// A builder's definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Builder {
    /// What it is for, in a line.
    #[serde(default)]
    pub description: Option<String>,
    /// The buildpacks that it carries.
    #[serde(default)]
    pub buildpacks: Vec<BuildpackSource>,
    /// How they are tried.
    #[serde(default)]
    pub order: Order,
}

/// A buildpack of a builder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BuildpackSource {
    /// Its id; the descriptor's own where missing.
    #[serde(default)]
    pub id: Option<BuildpackId>,
    /// Its version; the descriptor's own where missing.
    #[serde(default)]
    pub version: Option<Version>,
    /// Its folder, as a path relative to the definition or to the platform's buildpacks.
    pub uri: String,
}

impl Builder {
    /// Reads builder.toml.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let builder: Self = read("builder.toml", text)?;
        if builder.order.iter().all(|group| group.elements.is_empty()) {
            return Err(FormatError::new("builder.toml", "the order names no buildpack"));
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_needed() {
        let text = "[[buildpacks]]\nuri = \"python\"\n[[order]]\n[[order.group]]\nid = \"hythe/python\"\n\
                    [[order.group]]\nid = \"hythe/procfile\"\noptional = true\n";
        let builder = Builder::parse(text).unwrap();
        assert_eq!(builder.order[0].elements.len(), 2);
        assert!(builder.order[0].elements[1].optional);
        assert!(Builder::parse("[[order]]\ngroup = []\n").is_err());
    }
}
