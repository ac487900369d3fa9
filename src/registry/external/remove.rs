//! Images that nobody needs any more.

use super::{External, ExternalError};
use crate::client::{ClientError, Session};
use crate::{Reference, Tag};
use hythe_model::{Digest, ToolName};
use std::collections::BTreeSet;

impl External {
    /// The images of a tool that are in the registry: those that this platform has sent.
    pub async fn images(&self, tool: &ToolName) -> Result<BTreeSet<Digest>, ExternalError> {
        let place = &self.inner.place;
        let tags = self.tags(&place.session(tool, "pull", Vec::new())).await?;
        Ok(tags.iter().filter_map(|tag| place.names.own(tag)).collect())
    }

    /// Removes images of a tool. Of one that another platform has too only the name goes that this one gave it.
    pub async fn remove(&self, tool: &ToolName, images: &BTreeSet<Digest>) -> Result<(), ExternalError> {
        if images.is_empty() {
            return Ok(());
        }
        let place = &self.inner.place;
        let session = place.session(tool, "pull,delete", Vec::new());
        let foreign: BTreeSet<_> =
            self.tags(&session).await?.iter().filter_map(|tag| place.names.foreign(tag)).collect();
        for image in images {
            let is_shared = foreign.contains(image);
            let what: Reference =
                if is_shared { place.names.tag(image).into() } else { image.clone().into() };
            match session.delete_manifest(&what).await {
                // It removes images alone, and this one is the other platform's too.
                Err(ClientError::Refused(answer)) if is_shared && answer.is_unsupported() => {}
                removed => removed.map_err(|error| place.failed(error))?,
            }
        }
        Ok(())
    }

    async fn tags(&self, session: &Session<'_>) -> Result<Vec<Tag>, ExternalError> {
        session.tags().await.map_err(|error| self.inner.place.failed(error))
    }
}
