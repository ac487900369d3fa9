//! The HTTP API: its routes, its `OpenAPI` document and the objects that travel over it.
//!
//! Enter at [`routes`] (the server's side, feature `server`) or at [`types`] (both sides; the CLI sees only them).
//! Every route is registered together with its description, so that the document and the routes cannot part. This
//! room reads rows and asks the platform to act; it decides nothing itself and holds no state.

pub mod types;

#[cfg(feature = "server")]
mod server;

#[cfg(feature = "server")]
pub use server::{ApiParts, Runs, Work, document, health, routes};
