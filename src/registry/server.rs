//! The OCI distribution API over a [`ContentStore`].
//!
//! Enter at [`routes`].

use crate::{ContentStore, Repository};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Nobody in particular.
    Anonymous,
    /// A user, by the name that [`RegistryAuth::verify`] gave.
    User(String),
}

/// What is asked for on a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegistryAction {
    /// Reading.
    Pull,
    /// Writing.
    Push,
    /// Removing.
    Delete,
}

/// Who may do what in the registry.
#[async_trait]
pub trait RegistryAuth: Send + Sync + 'static {
    /// The user that these credentials prove, if any.
    async fn verify(&self, user: &str, secret: &str) -> Option<Subject>;
    /// Whether the subject may do this with the repository.
    async fn allowed(&self, subject: &Subject, repository: &Repository, action: RegistryAction) -> bool;
}

/// Settings of the API; the default is good for one server.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Key that signs tokens; random where none is given, so that a restart invalidates them.
    pub token_key: Option<[u8; 32]>,
    /// How long a token is good for.
    pub token_life: Duration,
    /// Address of this server as clients see it, as in `https://registry.example.org`; from each request where absent.
    pub public_url: Option<String>,
    /// Most bytes of a blob.
    pub max_blob_bytes: u64,
    /// Most uploads at once.
    pub max_uploads: usize,
    /// An upload that receives nothing for this long is dropped.
    pub upload_idle: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            token_key: None,
            token_life: Duration::from_secs(300),
            public_url: None,
            max_blob_bytes: 16 << 30,
            max_uploads: 256,
            upload_idle: Duration::from_secs(3600),
        }
    }
}

/// The API under `/v2/`, token endpoint included.
pub fn routes(store: ContentStore, auth: Arc<dyn RegistryAuth>) -> axum::Router {
    routes_with(store, auth, RegistryOptions::default())
}

/// As [`routes`], with settings.
pub fn routes_with(
    store: ContentStore,
    auth: Arc<dyn RegistryAuth>,
    options: RegistryOptions,
) -> axum::Router {
    let _ = (store, auth, options);
    todo!()
}
