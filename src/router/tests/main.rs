//! The router over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accepting;
mod limits;
mod releases;
mod routing;
mod silence;
mod smuggling;
mod streaming;
mod support;
mod tls;
mod upgrades;
