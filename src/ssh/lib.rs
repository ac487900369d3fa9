//! The SSH front: real git behind russh.
//!
//! Enter at [`serve`]. A connection proves a public key ([`KeyDirectory`]), then runs `git-receive-pack` or
//! `git-upload-pack` on a tool's repository and nothing else. Git calls [`hook::main`] back twice: `pre-receive`
//! judges while the objects are in quarantine, `proc-receive` hands the push to [`PushHandler`] and tells git its end.
//! This room never moves a ref, and knows neither the store nor the pipeline.

mod command;
mod connection;
mod contract;
mod error;
mod git;
pub mod hook;
mod host_key;
mod judge;
mod limits;
mod opening;
mod receive;
mod refusal;
mod registry;
mod server;
mod session;
mod tickets;
mod wire;

pub use contract::{Access, Identity, KeyDirectory, OfferedKey, PushHandler, PushOutcome, PushRules, Screen};
pub use error::SshError;
pub use host_key::HostKey;
pub use limits::SshLimits;
pub use server::{SshParts, serve};
