//! Carries a build's source and cache into its pod, and its layers out of it.
//!
//! A build's pod runs three containers, one after another: this program restores, the lifecycle builds with untrusted code beside
//! it, this program exports. Everything goes through one repository of the registry that is the build's own, and the credential
//! for it is shown to the first and the last container only. Enter at [`restore()`] and [`export()`]; [`Job`] and [`Delivery`]
//! are what the platform says and hears, and [`trees`] is what the layers of an image are made of, wherever a build runs.

mod exchange;
mod export;
mod files;
mod job;
pub mod places;
mod restore;
pub mod trees;

pub use exchange::{CarryError, Exchange};
pub use export::export;
pub use job::{Access, Cached, Delivery, Job, Packed, Refusal, Refused};
pub use restore::restore;
