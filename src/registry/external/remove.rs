//! Images that nobody needs any more.

use super::{External, ExternalError, Place, tagged};
use crate::client::Session;
use hythe_model::{Digest, ToolName};
use std::collections::BTreeSet;

impl External {
    /// The images of a tool that are in the registry: those that this platform has sent.
    pub async fn images(&self, tool: &ToolName) -> Result<BTreeSet<Digest>, ExternalError> {
        let session = self.inner.place.session(tool, "pull", Vec::new());
        self.inner.place.list(&session).await
    }

    /// Removes images of a tool.
    pub async fn remove(&self, tool: &ToolName, images: &BTreeSet<Digest>) -> Result<(), ExternalError> {
        let session = self.inner.place.session(tool, "pull,delete", Vec::new());
        for image in images {
            session.delete_manifest(image).await.map_err(|error| self.inner.place.failed(error))?;
        }
        Ok(())
    }
}

impl Place {
    async fn list(&self, session: &Session<'_>) -> Result<BTreeSet<Digest>, ExternalError> {
        let tags = session.tags().await.map_err(|error| self.failed(error))?;
        Ok(tags.iter().filter_map(tagged).collect())
    }
}
