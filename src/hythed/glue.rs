//! Adapters between rooms that do not see each other.

mod access;
mod images;
mod pushes;
mod traffic;

pub(crate) use access::RuntimeAccessLog;
pub(crate) use images::ImageAuth;
pub(crate) use pushes::{Keys, Pushes};
pub(crate) use traffic::{Counted, Dialer, Logging};
