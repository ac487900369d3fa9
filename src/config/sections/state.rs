//! Sections of what is kept: rows, images, logs; and of what a push may bring.

use crate::{Size, Span};
use serde::Deserialize;
use std::net::SocketAddr;

/// `[store]`: rows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Readers beside the one writer.
    pub readers: u32,
    /// How long a statement waits for another process's lock, as that of a backup.
    pub busy: Span,
}

impl Default for Store {
    fn default() -> Self {
        Self { readers: 4, busy: Span::seconds(5) }
    }
}

/// `[registry]`: images.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// An address of its own for images alone, beside the API's.
    #[serde(deserialize_with = "super::optional")]
    pub listen: Option<SocketAddr>,
    /// Whether that address speaks plain HTTP, wherever it is.
    pub plain: bool,
    /// How long a client's access token is good for.
    pub token_time: Span,
    /// Releases of a tool whose images are kept, the live one beside them.
    pub keep_releases: u32,
    /// How long an unnamed blob is kept.
    pub blob_grace: Span,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            listen: None,
            plain: false,
            token_time: Span::seconds(300),
            keep_releases: 20,
            blob_grace: Span::seconds(86_400),
        }
    }
}

/// `[logs]`: how much is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Of one build.
    pub build: Size,
    /// Builds of a tool whose logs are kept.
    pub builds: u32,
    /// Of one tool at run time; the oldest lines go first.
    pub tool: Size,
    /// Of one instance, before it is read into its tool's log.
    pub instance: Size,
    /// The longest line.
    pub line: Size,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            build: Size::mib(16),
            builds: 100,
            tool: Size::mib(32),
            instance: Size::mib(8),
            line: Size(16 << 10),
        }
    }
}

/// `[limits]`: what a push may bring.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The pack as it travels.
    pub pack: Size,
    /// Objects in a pack.
    pub objects: u64,
    /// Entries of a tree: files, links and folders.
    pub files: u64,
    /// One file.
    pub file: Size,
    /// All files of a tree.
    pub tree: Size,
    /// Bytes of a path.
    pub path: u32,
    /// Folders that a path may go down.
    pub depth: u32,
    /// Connections at a time with one key.
    pub connections_per_key: u32,
    /// Connections at a time in all.
    pub connections: u32,
    /// How long a push may stand still.
    pub no_progress: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pack: Size::mib(512),
            objects: 500_000,
            files: 100_000,
            file: Size::mib(256),
            tree: Size::mib(2048),
            path: 4096,
            depth: 64,
            connections_per_key: 8,
            connections: 64,
            no_progress: Span::seconds(30),
        }
    }
}
