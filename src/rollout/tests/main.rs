//! The local runtime on real sandboxes.

mod one_off;
mod restart;
mod rollouts;
mod support;
