//! Images that nobody needs any more.
//!
//! First the name goes that this platform gave an image, then the image, where a second look finds no other name of it: to remove
//! an image is to remove it under all of its names, and the others are somebody else's. A registry that removes no names is
//! remembered as long as the process lives.

use super::{External, ExternalError};
use crate::client::{ClientError, Session, Tags};
use hythe_model::{Digest, ToolName};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Names of a repository that no platform gave and that are looked up; where there are more, one of them may mean any image.
const STRANGERS: usize = 20;

impl External {
    /// The images of a tool that are in the registry: those that this platform has sent.
    pub async fn images(&self, tool: &ToolName) -> Result<BTreeSet<Digest>, ExternalError> {
        let place = &self.inner.place;
        let tags = self.tags(&place.session(tool, "pull", Vec::new())).await?;
        Ok(tags.found.iter().filter_map(|tag| place.names.own(tag)).collect())
    }

    /// Removes images of a tool; how many went. Of one that has another name, or may have one, only the name goes that this
    /// platform gave it, or nothing at all where the registry removes no names.
    pub async fn remove(&self, tool: &ToolName, images: &BTreeSet<Digest>) -> Result<usize, ExternalError> {
        if images.is_empty() {
            return Ok(0);
        }
        let session = self.inner.place.session(tool, "pull,delete", Vec::new());
        let mut gone = 0;
        for image in images {
            gone += usize::from(self.remove_one(&session, image).await?);
        }
        Ok(gone)
    }

    async fn remove_one(&self, session: &Session<'_>, image: &Digest) -> Result<bool, ExternalError> {
        let is_nameless = self.remove_name(session, image).await?;
        let tags = self.tags(session).await?;
        if self.has_other_name(session, &tags, image).await? {
            return Ok(is_nameless);
        }
        match session.delete_manifest(&image.clone().into()).await {
            // What has no name any more is the registry's to collect.
            Err(ClientError::Refused(answer)) if is_nameless && answer.is_unsupported() => {}
            removed => removed.map_err(|error| self.inner.place.failed(error))?,
        }
        Ok(true)
    }

    /// Removes the name that this platform gave an image; whether the registry does that.
    async fn remove_name(&self, session: &Session<'_>, image: &Digest) -> Result<bool, ExternalError> {
        let (place, keeps_names) = (&self.inner.place, &self.inner.keeps_names);
        if keeps_names.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match session.delete_manifest(&place.names.tag(image).into()).await {
            Ok(()) => Ok(true),
            // Some want a digest there.
            Err(ClientError::Refused(answer))
                if answer.is_unsupported() || answer.code == "DIGEST_INVALID" =>
            {
                keeps_names.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(place.failed(error)),
        }
    }

    /// Whether an image has a name that this platform did not give it, or may have one.
    async fn has_other_name(
        &self,
        session: &Session<'_>,
        tags: &Tags,
        image: &Digest,
    ) -> Result<bool, ExternalError> {
        let place = &self.inner.place;
        let others: Vec<_> = tags.found.iter().filter(|tag| place.names.own(tag).is_none()).collect();
        if !tags.are_all || others.iter().any(|tag| place.names.foreign(tag).as_ref() == Some(image)) {
            return Ok(true);
        }
        let strangers: Vec<_> = others.into_iter().filter(|tag| place.names.foreign(tag).is_none()).collect();
        if strangers.len() > STRANGERS {
            return Ok(true);
        }
        for tag in strangers {
            let is_it = session.has_manifest(&tag.clone().into(), image).await;
            if is_it.map_err(|error| place.failed(error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn tags(&self, session: &Session<'_>) -> Result<Tags, ExternalError> {
        session.tags().await.map_err(|error| self.inner.place.failed(error))
    }
}
