//! Whole builds with shell buildpacks, on the real sandbox.
//!
//! Started by root, each test runs itself again as the unprivileged user `hythe`; the programs are those of the
//! installation that `make build` lays out (`HYTHE_PREFIX`).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "build/support.rs"]
mod support;

#[path = "build/cache.rs"]
mod cache;
#[path = "build/faults.rs"]
mod faults;
#[path = "build/hostile.rs"]
mod hostile;
#[path = "build/image.rs"]
mod image;
