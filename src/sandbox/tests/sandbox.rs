//! Sandboxes that really run, attacked from inside.
//!
//! Started by root, each test runs itself again as the unprivileged user `hythe` (see `support`).

mod support;

mod faults;
mod limits;
mod network;
mod running;
