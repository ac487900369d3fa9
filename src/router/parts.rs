//! What a router is made of.

use crate::{AccessLog, Fallback, InFlight};
use async_trait::async_trait;
use hythe_model::{InstanceId, RouteTable};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Connects to instances.
#[async_trait]
pub trait Dial: Send + Sync {
    /// A new connection to a port of an instance.
    async fn dial(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream>;
}

/// The handles of a router.
pub struct RouterParts {
    /// Where traffic goes.
    pub routes: watch::Receiver<RouteTable>,
    /// How instances are reached.
    pub dial: Arc<dyn Dial>,
    /// Where the count of requests under way is kept; the runtime holds a clone.
    pub in_flight: InFlight,
    /// Where requests are noted.
    pub access: Arc<dyn AccessLog>,
    /// What answers at the platform's own host names.
    pub fallback: Option<Fallback>,
    /// What the operator chose.
    pub settings: RouterSettings,
}

/// What the operator chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSettings {
    /// Tools answer at `<tool>.<domain>`.
    pub domain: String,
    /// The platform's own host names or addresses, without a port, as in `hythe.example.org` or `127.0.0.1`.
    pub platform_hosts: Vec<String>,
    /// Most bytes of a request's head.
    pub header_bytes: usize,
    /// Most headers of a request.
    pub headers: usize,
    /// Most bytes of a request's body; `None` is no limit.
    pub body_bytes: Option<u64>,
    /// How long a request's head may take, from the first byte or the connection's begin.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// How long a client's reading of an answer may stand still, and how long its request's body may keep the router
    /// waiting in all; each 256 bytes win back a second.
    pub stall_timeout: Duration,
    /// How long an instance may take until the head of its answer.
    pub answer_timeout: Duration,
    /// How long neither side of a tunnel, as a WebSocket is one, may say anything.
    pub tunnel_idle: Duration,
    /// How long a request for a tool that is starting waits.
    pub starting_wait: Duration,
    /// Most connections at once.
    pub connections: usize,
    /// Most connections of one address at once.
    pub connections_per_client: usize,
    /// Most requests at once in one instance; more are answered "overloaded".
    pub requests_per_instance: usize,
    /// Most requests of one address at once in one tool; more are answered "too many requests". `None` is half of
    /// `requests_per_instance`, so that no client takes all places.
    pub requests_per_client: Option<usize>,
    /// Most idle connections kept to one instance.
    pub idle_per_instance: usize,
    /// How long requests under way may take at shutdown.
    pub shutdown_grace: Duration,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            domain: "localhost".to_owned(),
            platform_hosts: vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()],
            header_bytes: 64 << 10,
            headers: 100,
            body_bytes: Some(1 << 30),
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(2),
            stall_timeout: Duration::from_mins(1),
            answer_timeout: Duration::from_mins(5),
            tunnel_idle: Duration::from_hours(1),
            starting_wait: Duration::from_secs(10),
            connections: 10_000,
            connections_per_client: 1_000,
            requests_per_instance: 1_000,
            requests_per_client: None,
            idle_per_instance: 64,
            shutdown_grace: Duration::from_secs(25),
        }
    }
}

impl RouterSettings {
    /// Most requests of one address at once in one tool.
    pub(crate) fn client_share(&self) -> usize {
        self.requests_per_client.unwrap_or(self.requests_per_instance / 2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ingress_that_is_installed_cuts_nothing_that_the_router_allows() {
        let ingress = include_str!("../../deploy/kubernetes/ingress/ingress.yaml");
        let allowed = RouterSettings::default();
        let longest = allowed.tunnel_idle.max(allowed.answer_timeout);
        for timeout in ["proxy-read-timeout", "proxy-send-timeout"] {
            let (_, after) = ingress.split_once(timeout).expect(timeout);
            let seconds = after.split('"').nth(1).and_then(|seconds| seconds.parse().ok());
            assert!(seconds.is_some_and(|seconds| Duration::from_secs(seconds) >= longest), "{timeout}");
        }
    }
}
