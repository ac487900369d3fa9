//! The embedded registry: one content-addressed store, and the OCI distribution API over it.
//!
//! Enter at [`ContentStore`] (synchronous: blobs, manifests, tags and who may see which, by repository) and at
//! [`routes`] (the API under `/v2/`, with its token endpoint). The platform's own export writes straight into the
//! store; only clients from outside come through the API.
//! This room never decides who may do what: [`RegistryAuth`] does. It never serves a blob that is not whole.

pub mod reference;
pub mod server;
pub mod store;

pub use reference::{Reference, ReferenceError, Repository, Tag};
pub use server::{RegistryAction, RegistryAuth, RegistryOptions, Subject, Unproven, routes};
pub use store::{ContentStore, GcPolicy, GcReport, RegistryError, StoredImage, StoredManifest, Upload};
