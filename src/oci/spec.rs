//! What goes into a layer, as data that can cross a socket.
//!
//! A [`LayerSpec`] is a list of parts, written in their order. It never reads anything itself.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A layer to write: its parts, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerSpec {
    /// The folder that every `source` is relative to. With it no source may leave the folder, and no symbolic link
    /// is followed on the way to one: set it wherever what lies on the way was written by untrusted code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// The parts, written in this order.
    pub parts: Vec<Part>,
}

impl LayerSpec {
    /// A layer of these parts, whose sources are absolute paths.
    pub fn new(parts: Vec<Part>) -> Self {
        Self { base: None, parts }
    }
}

/// One part of a layer. A `target` is an absolute path in the image, as in `/layers/python/venv`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Part {
    /// A folder (or a single file) of the machine with all that is below it.
    Tree {
        /// Where it is read.
        source: PathBuf,
        /// Where it lies in the image.
        target: String,
        /// Whom its entries belong to.
        owner: Owner,
        /// Which entries are taken; all by default.
        #[serde(default)]
        filter: Filter,
        /// Whether the source is the upper folder of an overlay, whose deletions become whiteout entries.
        #[serde(default)]
        whiteouts: bool,
    },
    /// The folders above `target`, with the mode and owner of the folders above `source`: the last folder name of
    /// one corresponds to the last of the other. A folder that an earlier part wrote is not repeated.
    Parents {
        /// A path whose parents are read.
        source: PathBuf,
        /// A path whose parents are written.
        target: String,
    },
    /// A file with this content.
    File {
        /// Where it lies in the image.
        target: String,
        /// Its bytes.
        content: Vec<u8>,
        /// Permission bits, as in `0o644`.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A file of the machine with a mode and owner of its own; a symbolic link is not followed.
    HostFile {
        /// Where it is read.
        source: PathBuf,
        /// Where it lies in the image.
        target: String,
        /// Permission bits, as in `0o755`.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// An empty folder. A folder that an earlier part wrote is not repeated.
    Dir {
        /// Where it lies in the image.
        target: String,
        /// Permission bits, as in `0o755`.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A symbolic link.
    Symlink {
        /// Where it lies in the image.
        target: String,
        /// What it points to, verbatim.
        link: String,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Whom the entries of a tree belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Everything to this user and group.
    Fixed {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Each to whom it belongs on disk.
    Keep,
}

/// Which entries of a tree are taken, by patterns on the path below its source.
///
/// Patterns are those of the CNB slices (Go `filepath.Match`): `*` and `?` stay within a name, `[a-z]` is a class, a
/// backslash escapes. A pattern that matches a folder stands for all below it. Folders above a taken entry are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only entries that match one of these; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// No entry that matches one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}
