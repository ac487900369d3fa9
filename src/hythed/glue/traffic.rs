//! The router's way into instances, and the runtime's view of requests under way.

use async_trait::async_trait;
use hythe_model::InstanceId;
use hythe_rollout::{Runtime, Traffic};
use hythe_router::{Dial, InFlight};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Dials through the runtime.
pub(crate) struct Dialer(pub(crate) Arc<dyn Runtime>);

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream> {
        self.0.dial(instance, port).await
    }
}

/// Waits through the router's counters.
pub(crate) struct Draining(pub(crate) InFlight);

#[async_trait]
impl Traffic for Draining {
    async fn drained(&self, instance: &InstanceId) {
        self.0.drained(instance).await;
    }
}
