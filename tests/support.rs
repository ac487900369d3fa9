//! A real server in a temporary folder, and the real clients of a maintainer.

mod client;
mod cluster;
mod load;
mod replicas;
mod seed;
mod server;
mod typed;

pub(crate) use client::{Client, Ran};
pub(crate) use cluster::{Cluster, Clustered, host, kubectl, kubectl_apply, told};
pub(crate) use load::{answers_under_load, under_load};
pub(crate) use replicas::Replicas;
pub(crate) use seed::seed;
pub(crate) use server::{Server, checkout, program, shared};
use std::time::{Duration, Instant};
pub(crate) use typed::Typed;

/// What comes true in time.
#[track_caller]
pub(crate) fn until<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come true within {patience:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
