//! Sections of the server and of its fronts.

use crate::{Size, Span};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// `[server]`: the server itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The data folder; see [`Server::data_dir`] where unset.
    #[serde(deserialize_with = "super::optional")]
    pub data_dir: Option<PathBuf>,
    /// The folder of keys; in the data folder, or in what servers share, where unset.
    #[serde(deserialize_with = "super::optional")]
    pub keys: Option<PathBuf>,
    /// How long a stop waits for running builds and open requests.
    pub drain: Span,
    /// How long requests to tools may still take at the very end of a stop.
    pub finish: Span,
    /// Time between two rounds of removing what nobody needs any more.
    pub upkeep: Span,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            data_dir: None,
            keys: None,
            drain: Span::seconds(30),
            finish: Span::seconds(5),
            upkeep: Span::seconds(3600),
        }
    }
}

impl Server {
    /// The data folder: the one set, else `data` in the home of the user `hythe`, else `hythe` in the user's own data folder.
    pub fn data_dir(&self, home: Option<&std::path::Path>) -> PathBuf {
        let system = std::path::Path::new("/var/lib/hythe");
        match (&self.data_dir, home) {
            (Some(dir), _) => dir.clone(),
            (None, Some(home)) if home != system => home.join(".local/share/hythe"),
            (None, _) => system.join("data"),
        }
    }
}

/// `[ssh]`: pushes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ssh {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Host and port that remotes name, where they differ from `listen`.
    #[serde(deserialize_with = "super::optional")]
    pub public: Option<String>,
}

impl Default for Ssh {
    fn default() -> Self {
        Self { listen: loopback(2222), public: None }
    }
}

/// `[api]`: the HTTP API that the command line talks to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Host and port that clients name, where they differ from `listen`; its host is in the platform's own certificate.
    #[serde(deserialize_with = "super::optional")]
    pub public: Option<String>,
    /// The longest body of a request.
    pub body: Size,
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: loopback(8081), public: None, body: Size::mib(1) }
    }
}

/// `[router]`: traffic to tools.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Router {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Tools answer at `<tool>.<domain>`.
    pub domain: String,
    /// Port that URLs show, where it differs from that of `listen`; 0 is the port of `listen`.
    pub public_port: u16,
    /// The longest head of a request.
    pub head: Size,
    /// The longest body of a request.
    pub body: Size,
    /// How long a client may take to send a request's head.
    pub head_time: Span,
    /// How long a connection, a body or a response may stand still.
    pub idle_time: Span,
    /// Open connections of clients in all.
    pub connections: u32,
    /// Requests under way to one instance; more wait or are told that the tool is overloaded.
    pub requests_per_instance: u32,
    /// Requests of one client under way in one tool; 0: half of those of an instance.
    pub requests_per_client: u32,
    /// How long a tunnel, as a WebSocket, may be silent.
    pub tunnel_idle: Span,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            domain: "localhost".to_owned(),
            public_port: 0,
            head: Size(64 << 10),
            body: Size::mib(1024),
            head_time: Span::seconds(10),
            idle_time: Span::seconds(120),
            connections: 10_000,
            requests_per_instance: 250,
            requests_per_client: 0,
            tunnel_idle: Span::seconds(3600),
        }
    }
}

/// Where certificates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Plain on loopback addresses, the platform's own authority elsewhere.
    Auto,
    /// Plain; for loopback addresses only.
    Off,
    /// The platform's own authority, made at first run.
    Own,
    /// A given certificate.
    Files,
}

/// `[tls]`: certificates of router and API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Where certificates come from.
    pub mode: TlsMode,
    /// PEM file of the certificate and its chain.
    #[serde(deserialize_with = "super::optional")]
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[serde(deserialize_with = "super::optional")]
    pub key: Option<PathBuf>,
}

impl Default for Tls {
    fn default() -> Self {
        Self { mode: TlsMode::Auto, certificate: None, key: None }
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
