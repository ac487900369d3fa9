//! Requests under way, by instance.

use hythe_model::InstanceId;
use std::sync::Arc;

/// Requests under way, by instance: the router counts, the runtime waits. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct InFlight {
    inner: Arc<()>,
}

impl InFlight {
    /// Nothing under way.
    pub fn new() -> Self {
        Self::default()
    }

    /// Closes an instance to new requests and returns when none is under way.
    pub async fn drained(&self, instance: &InstanceId) {
        todo!()
    }

    /// Requests under way in an instance now.
    pub fn count(&self, instance: &InstanceId) -> usize {
        todo!()
    }
}
