//! The Kubernetes API as this platform writes to it.
//!
//! Enter at [`Cluster::connect`]. An [`Object`] is written by server-side apply where it differs, under an [`Owner`]'s labels,
//! and what carries other labels is never touched; [`patient()`] waits out an API server that is away. [`fence`] has the parts of
//! what stands around pods. What is wanted, and what becomes of it, others know: this room has no release and no build.

mod apply;
mod check;
mod compare;
mod connect;
pub mod fence;
mod installation;
mod known;
mod object;
mod output;
mod owner;
mod pod;
mod streams;

pub use apply::{
    Applied, Cluster, ClusterError, Present, SECRET, create, is_denial, is_early, patient, remove,
    remove_own, stays, try_create, watched_kinds,
};
pub use installation::of_another;
pub use known::Known;
pub use object::Object;
pub use output::{Output, Piece, Position};
pub use owner::{LABEL_PLATFORM, LABEL_TOOL, Owner, selector};
pub use pod::{GivenUp, unschedulable};
pub use streams::{Place, Streams};
