//! `<layer>.toml`: what a buildpack says of one layer.

use crate::{FormatError, Table, read};
use serde::{Deserialize, Serialize};

/// What a layer is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerTypes {
    /// Later buildpacks see it.
    #[serde(default)]
    pub build: bool,
    /// The image has it.
    #[serde(default)]
    pub launch: bool,
    /// The next build gets it back.
    #[serde(default)]
    pub cache: bool,
}

impl LayerTypes {
    /// Whether it is for nothing, and so is left alone.
    pub fn is_ignored(self) -> bool {
        !self.build && !self.launch && !self.cache
    }

    /// Whether the next build gets its metadata back.
    pub fn restores_metadata(self) -> bool {
        self.cache || (self.launch && !self.build)
    }
}

/// A layer's file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerToml {
    /// What it is for; missing in a restored file, so that the buildpack must say it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<LayerTypes>,
    /// What the buildpack keeps with it.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub metadata: Table,
}

impl LayerToml {
    /// Reads the file of this name.
    pub fn parse(file: &str, text: &str) -> Result<Self, FormatError> {
        read(file, text)
    }

    /// What the layer is for; nothing, where the file does not say.
    pub fn types(&self) -> LayerTypes {
        self.types.unwrap_or_default()
    }

    /// The file as it is restored: metadata without types.
    pub fn restored(metadata: Table) -> Result<String, FormatError> {
        toml::to_string(&Self { types: None, metadata })
            .map_err(|error| FormatError::new("layer.toml", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_false_unless_said() {
        let layer = LayerToml::parse("a.toml", "[types]\ncache = true\n[metadata]\nsum = \"x\"\n").unwrap();
        assert_eq!(layer.types(), LayerTypes { cache: true, ..LayerTypes::default() });
        assert!(LayerToml::parse("a.toml", "").unwrap().types().is_ignored());
        assert!(LayerToml::parse("a.toml", "[types]\ncache = 1").is_err());
    }

    #[test]
    fn what_comes_back_follows_the_types() {
        let of = |build, launch, cache| LayerTypes { build, launch, cache }.restores_metadata();
        assert!(of(false, false, true) && of(true, true, true) && of(false, true, false));
        assert!(!of(true, true, false) && !of(true, false, false) && !of(false, false, false));
    }

    #[test]
    fn restored_files_have_no_types() {
        let text = LayerToml::restored(Table::from_iter([("v".into(), 1.into())])).unwrap();
        assert_eq!(text, "[metadata]\nv = 1\n");
    }
}
