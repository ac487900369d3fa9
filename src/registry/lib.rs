//! The embedded registry: one content-addressed store, and the OCI distribution API over it; and external ones beside it.
//!
//! Enter at [`ContentStore`] (synchronous: blobs, manifests, tags and who may see which, by repository) and at
//! [`routes`] (the API under `/v2/`, with its token endpoint). The platform's own export writes straight into the
//! store; only clients from outside come through the API.
//! Where nodes pull from another registry, [`External`] sends images of the store there, as a client of the same API.
//! This room never decides who may do what: [`RegistryAuth`] does. It never serves a blob that is not whole.

mod client;
mod credentials;
mod external;
mod prefix;
pub mod reference;
pub mod server;
pub mod store;

pub use credentials::{Credentials, CredentialsError, Login};
pub use external::{External, ExternalError, ExternalOptions, OpenError, Provided, check as check_external};
pub use prefix::{Prefix, PrefixError};
pub use reference::{Reference, ReferenceError, Repository, Tag};
pub use server::{RegistryAction, RegistryAuth, RegistryOptions, Subject, Unproven, routes};
pub use store::{ContentStore, GcPolicy, GcReport, RegistryError, StoredImage, StoredManifest, Upload};
