//! Traffic by host name into instances.
//!
//! Enter at [`Router::new`] and [`serve()`]. A request's host names its tool; the tool's route comes from a watch channel
//! alone; connections into instances come from [`Dial`] and are pooled. Bodies stream both ways and are never kept.
//! This room never asks a stage or the store anything, and knows no tool that is not in the route table.

mod accept;
mod access;
mod backend;
mod body;
mod clients;
mod connection;
mod fallback;
mod guard;
mod headers;
mod host;
mod in_flight;
mod line;
mod page;
mod parts;
mod patience;
mod proxy;
mod serve;
mod stalled;
mod streams;
mod table;
mod upgrade;
mod upstream;
mod vigil;

pub use access::{AccessEntry, AccessLog, NoAccessLog};
pub use fallback::{BoxError, Fallback, RouterBody};
pub use in_flight::InFlight;
pub use parts::{Dial, RouterParts, RouterSettings};
pub use serve::{ClientAddr, Router, RouterError, serve, serve_platform};
