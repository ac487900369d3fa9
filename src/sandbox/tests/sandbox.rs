//! Sandboxes that really run, attacked from inside.
//!
//! Started by root, each test runs itself again as the unprivileged user `hythe` (see `support`).

#![expect(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

mod support;

mod archives;
mod faults;
mod limits;
mod network;
mod running;
mod terminal;
