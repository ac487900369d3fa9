//! The local runtime on real sandboxes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod one_off;
mod restart;
mod rollouts;
mod support;
