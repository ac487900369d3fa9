//! The router over real sockets.

mod limits;
mod releases;
mod routing;
mod smuggling;
mod streaming;
mod support;
mod tls;
mod upgrades;
