//! How much of the server one client, one key and all together may take.

use std::time::Duration;

/// Limits on connections. Those on what is pushed are [`hythe_source::SourceLimits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshLimits {
    /// Connections at once that have proven a key, in all.
    pub connections: usize,
    /// Connections at once that have not, in all: strangers must not keep maintainers out.
    pub strangers: usize,
    /// Of these, connections of one address.
    pub strangers_per_address: usize,
    /// Connections at once that have proven the same key.
    pub connections_per_key: usize,
    /// Git commands at once on one connection.
    pub commands_per_connection: usize,
    /// Time in which a client must have proven a key.
    pub login: Duration,
    /// Time in which at least one byte must move, but for while the platform itself is at work. Git says something every
    /// 5 s while it works on a pack, so that less than twice that would end honest pushes.
    pub stall: Duration,
    /// Time after which a silent client is asked whether it is there; it is gone after three.
    pub keepalive: Duration,
    /// Time that running commands are given when the server stops.
    pub drain: Duration,
}

impl Default for SshLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            strangers: 128,
            strangers_per_address: 32,
            connections_per_key: 16,
            commands_per_connection: 4,
            login: Duration::from_secs(30),
            stall: Duration::from_mins(2),
            keepalive: Duration::from_secs(15),
            drain: Duration::from_secs(20),
        }
    }
}
