//! An external registry: images of the content store are sent to it, and removed from it.
//!
//! Enter at [`External::open`]; [`External::provide`] sees to it that an image is there, [`External::remove`] takes it away.
//! Sending is idempotent and leaves nothing named that is not whole: blobs first, the manifest last. What is there already is not
//! sent again, and what another repository of ours has is mounted. A registry that is away is waited for. Images are named by
//! digest; each has a tag of the platform and its digest too, so that a registry that collects what has no tag leaves it alone, and so
//! that what is there of this platform can be listed (`name`).

mod check;
mod error;
mod known;
mod name;
mod remove;
mod send;
#[cfg(test)]
mod tests;

pub use check::check;
use error::Cause;
pub use error::{ExternalError, OpenError};
pub use send::Provided;

use crate::client::{Client, ClientError, ClientOptions, Session, scope};
use crate::{ContentStore, Credentials, Prefix};
use hythe_model::ToolName;
use known::Known;
use name::Names;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Images that are sent at a time.
const AT_ONCE: usize = 4;

/// How an external registry is reached.
#[derive(Debug, Clone)]
pub struct ExternalOptions {
    /// Where images go.
    pub prefix: Prefix,
    /// This platform's name among others that send images to the same place.
    pub platform: String,
    /// Credentials that images are sent with; none where anybody may.
    pub push: Option<PathBuf>,
    /// Authorities that are trusted beside the machine's own, a PEM file.
    pub authorities: Option<PathBuf>,
    /// Whether it speaks plain HTTP.
    pub plain: bool,
    /// How long a registry that is away is waited for.
    pub patience: Duration,
}

/// An external registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct External {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    content: ContentStore,
    patience: Duration,
    at_once: Semaphore,
    known: Known,
    /// The registry removes no names.
    keeps_names: AtomicBool,
}

/// The registry, with what is shown to it.
#[derive(Debug)]
struct Place {
    prefix: Prefix,
    names: Names,
    client: Client,
    push: Option<Credentials>,
}

impl External {
    /// Opens a registry for the images of this store. It is asked nothing yet.
    pub fn open(options: &ExternalOptions, content: ContentStore) -> Result<Self, OpenError> {
        let (place, patience) = (Place::open(options)?, options.patience);
        let (at_once, known, keeps_names) =
            (Semaphore::new(AT_ONCE), Known::default(), AtomicBool::default());
        Ok(Self { inner: Arc::new(Inner { place, content, patience, at_once, known, keeps_names }) })
    }

    /// Where images are.
    pub fn prefix(&self) -> &Prefix {
        &self.inner.place.prefix
    }
}

impl Place {
    fn open(options: &ExternalOptions) -> Result<Self, OpenError> {
        let ExternalOptions { prefix, platform, push, authorities, plain, .. } = options;
        let names = Names::of(platform)?;
        let push = push.as_ref().map(|path| Credentials::open(path, prefix.host())).transpose()?;
        let failed = |path: &PathBuf, source| OpenError::Authorities { path: path.clone(), source };
        let read = |path| std::fs::read(path).map_err(|error| failed(path, error));
        let authorities = authorities.as_ref().map(read).transpose()?;
        let client =
            Client::open(&ClientOptions { host: prefix.host().to_owned(), plain: *plain, authorities });
        let client = client.map_err(|error| OpenError::Client(error.to_string()))?;
        Ok(Self { prefix: prefix.clone(), names, client, push })
    }

    fn error(&self, cause: Cause) -> ExternalError {
        ExternalError::new(self.prefix.host(), cause)
    }

    fn failed(&self, error: ClientError) -> ExternalError {
        self.error(Cause::Client(error))
    }

    /// Begins to do something with a tool's images.
    fn session(&self, tool: &ToolName, actions: &str, more: Vec<String>) -> Session<'_> {
        let repository = self.prefix.repository(tool);
        let scopes = std::iter::once(scope(&repository, actions)).chain(more).collect();
        self.client.session(repository, self.push.as_ref().map(Credentials::login), scopes)
    }
}
