//! Sections of what is kept: rows, images, logs; and of what a push may bring.

use crate::{ConfigError, Size, Span};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[store]`: rows.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// The PostgreSQL database; the embedded one where unset. Holds a password.
    #[serde(deserialize_with = "super::secret")]
    pub url: Option<SecretString>,
    /// A file that holds the URL, as a mounted secret does.
    #[serde(deserialize_with = "super::optional")]
    pub url_file: Option<PathBuf>,
    /// Connections to the PostgreSQL server, at most.
    pub connections: u32,
    /// How long a PostgreSQL server that is away is waited for.
    pub patience: Span,
    /// Readers beside the one writer of the embedded database.
    pub readers: u32,
    /// How long a statement waits for another process's lock on the embedded database, as that of a backup.
    pub busy: Span,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            connections: 10,
            patience: Span::seconds(30),
            readers: 4,
            busy: Span::seconds(5),
        }
    }
}

impl Store {
    /// The PostgreSQL database's URL, from the setting or the file that holds it; `None` for the embedded one.
    pub fn url(&self) -> Result<Option<SecretString>, ConfigError> {
        let Some(path) = &self.url_file else { return Ok(self.url.clone()) };
        let read = |reason: String| ConfigError::Read { path: path.clone(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| read(error.to_string()))?;
        match text.trim() {
            "" => Err(read("it is empty; it is to hold the URL of the database".to_owned())),
            url => Ok(Some(SecretString::from(url))),
        }
    }
}

impl Store {
    /// A setting that cannot be meant: its name, what is wrong, what to do.
    pub(super) fn contradiction(&self) -> Option<(&'static str, &'static str, &'static str)> {
        const MORE: &str = "Set it to 1 or more.";
        if self.url.is_some() && self.url_file.is_some() {
            return Some(("url_file", "the database is named twice", "Set url or url_file, not both."));
        }
        if self.connections == 0 {
            return Some(("connections", "at least one connection is needed", MORE));
        }
        (self.readers == 0).then_some(("readers", "at least one reader is needed", MORE))
    }
}

impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        let plain = |store: &Self| store.url.as_ref().map(|url| url.expose_secret().to_owned());
        let rest = |store: &Self| {
            (store.url_file.clone(), store.connections, store.patience, store.readers, store.busy)
        };
        plain(self) == plain(other) && rest(self) == rest(other)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("url_file", &self.url_file)
            .field("connections", &self.connections)
            .field("patience", &self.patience)
            .field("readers", &self.readers)
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}

/// `[objects]`: what several servers share beside the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Objects {
    /// A folder that all of them mount; this is the only server where it is unset.
    #[serde(deserialize_with = "super::optional")]
    pub folder: Option<PathBuf>,
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
    /// All images of a tool together, but for the stack's layers.
    pub tool: Size,
    /// How long an unnamed blob is kept.
    pub blob_grace: Span,
    /// Another registry, that nodes pull from.
    pub external: ExternalRegistry,
}

/// `[registry.external]`: a registry that images are sent to and that nodes pull them from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExternalRegistry {
    /// Its host and the path before a tool's name; nodes pull from this server where unset.
    #[serde(deserialize_with = "super::optional")]
    pub prefix: Option<String>,
    /// Credentials that images are sent with, in the form of Docker's `config.json`.
    #[serde(deserialize_with = "super::optional")]
    pub push_credentials: Option<PathBuf>,
    /// Credentials that nodes pull with.
    #[serde(deserialize_with = "super::optional")]
    pub pull_credentials: Option<PathBuf>,
    /// PEM bundle of authorities that are trusted beside the machine's own.
    #[serde(deserialize_with = "super::optional")]
    pub ca_bundle: Option<PathBuf>,
    /// Whether it speaks plain HTTP.
    pub plain: bool,
    /// How long it is waited for when it is away.
    pub patience: Span,
}

impl Default for ExternalRegistry {
    fn default() -> Self {
        Self {
            prefix: None,
            push_credentials: None,
            pull_credentials: None,
            ca_bundle: None,
            plain: false,
            patience: Span::seconds(120),
        }
    }
}

impl ExternalRegistry {
    /// A setting that cannot be meant: its name, what is wrong, what to do.
    pub(super) fn contradiction(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let next = "Set prefix in [registry.external], as in \"harbor.example.org/hythe\", or take this out.";
        let set = [
            ("push_credentials", self.push_credentials.is_some()),
            ("pull_credentials", self.pull_credentials.is_some()),
            ("ca_bundle", self.ca_bundle.is_some()),
            ("plain", self.plain),
        ];
        let unused = set.into_iter().find(|(_, is_set)| self.prefix.is_none() && *is_set);
        unused.map(|(key, _)| (key, "it is about a registry that is not named", next))
    }
}

/// A push and what comes before its manifest take less.
const SHORTEST_GRACE: Duration = Duration::from_hours(1);

impl Registry {
    /// A setting that cannot be meant: its name, what is wrong, what to do.
    pub(super) fn contradiction(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let what = "blobs would be removed before a push could use them";
        let next = "Set it to 1 h or more: what a push writes must outlive the push.";
        (self.blob_grace.duration() < SHORTEST_GRACE).then_some(("blob_grace", what, next))
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            listen: None,
            plain: false,
            token_time: Span::seconds(300),
            keep_releases: 20,
            tool: Size::mib(20 << 10),
            blob_grace: Span::seconds(86_400),
            external: ExternalRegistry::default(),
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
    /// One-off processes of a tool at a time.
    pub runs_per_tool: u32,
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
            runs_per_tool: 16,
        }
    }
}
