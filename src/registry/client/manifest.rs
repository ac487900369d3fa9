//! Manifests and tags.

use super::{ClientError, Session, body, refusal};
use crate::{Reference, Tag};
use hythe_model::Digest;
use hythe_oci::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LINK};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

/// Tags of one answer, and answers that are read.
const MOST: usize = 1000;
const ANSWERS: usize = 50;
/// What says which manifest a registry means.
const DIGEST: &str = "docker-content-digest";

/// The names in a repository.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    pub(crate) found: Vec<Tag>,
    /// Whether these are all: a list may be too long, or go on at another place.
    pub(crate) are_all: bool,
}

#[derive(Deserialize)]
struct Page {
    /// `null` where there is none.
    tags: Option<Vec<String>>,
}

impl Session<'_> {
    /// Whether this names this manifest in the repository.
    pub(crate) async fn has_manifest(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<bool, ClientError> {
        const WHAT: &str = "say whether it has an image";
        let url = self.url(&format!("manifests/{reference}"))?;
        let accept = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ");
        let response = self.ask(|http| http.head(url.clone()).header(ACCEPT, &accept)).await?;
        match response.status() {
            StatusCode::OK => Ok(meant(&response).is_none_or(|there| there == digest.as_str())),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal(WHAT, response).await),
        }
    }

    /// Puts a manifest in its place, byte for byte, and points the tag at it.
    pub(crate) async fn put_manifest(
        &self,
        tag: &Tag,
        digest: &Digest,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), ClientError> {
        const WHAT: &str = "take a manifest";
        let url = self.url(&format!("manifests/{tag}"))?;
        let put = |http: &reqwest::Client| {
            http.put(url.clone()).header(CONTENT_TYPE, media_type).body(bytes.to_vec())
        };
        let response = self.ask(put).await?;
        if response.status() != StatusCode::CREATED {
            return Err(refusal(WHAT, response).await);
        }
        match meant(&response) {
            Some(actual) if actual != digest.as_str() => Err(ClientError::Mismatch {
                expected: digest.to_string(),
                actual: actual.chars().take(160).collect(),
            }),
            _ => Ok(()),
        }
    }

    /// Removes a tag, or a manifest with the tags that point at it. What is not there is gone already.
    pub(crate) async fn delete_manifest(&self, reference: &Reference) -> Result<(), ClientError> {
        const WHAT: &str = "remove an image";
        let url = self.url(&format!("manifests/{reference}"))?;
        let response = self.ask(|http| http.delete(url.clone())).await?;
        match response.status() {
            StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refusal(WHAT, response).await),
        }
    }

    /// The repository's tags, as far as they can be read; none where there is no such repository.
    pub(crate) async fn tags(&self) -> Result<Tags, ClientError> {
        const WHAT: &str = "list an image's names";
        let mut next = self.url(&format!("tags/list?n={MOST}"))?;
        let mut tags = Tags::default();
        for _ in 0..ANSWERS {
            let response = self.ask(|http| http.get(next.clone())).await?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => {
                    tags.are_all = tags.found.is_empty();
                    break;
                }
                _ => return Err(refusal(WHAT, response).await),
            }
            let mut links = response.headers().get_all(LINK).iter();
            let link = links.find_map(|value| next_link(value.to_str().ok()?));
            let rest = link.as_ref().and_then(|link| response.url().join(link).ok());
            let odd = |_| ClientError::Odd { what: WHAT, why: "its answer is no list of tags".to_owned() };
            let page: Page = serde_json::from_slice(&body(WHAT, response).await?).map_err(odd)?;
            tags.found.extend(page.tags.unwrap_or_default().iter().filter_map(|tag| tag.parse().ok()));
            // Nothing is shown to another place.
            let Some(url) = rest.filter(|url| self.is_home(url)) else {
                tags.are_all = link.is_none();
                break;
            };
            next = url;
        }
        Ok(tags)
    }
}

/// The manifest that an answer is about, where it says so.
fn meant(response: &Response) -> Option<&str> {
    response.headers().get(DIGEST)?.to_str().ok()
}

/// Where the rest of a list is (RFC 8288), as in `</v2/a/tags/list?last=x&n=2>; rel="next"`.
fn next_link(header: &str) -> Option<String> {
    header.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|p| matches!(p.trim(), r#"rel="next""# | "rel=next"));
        is_next.then(|| target.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_list_is_where_the_header_says() {
        assert_eq!(
            next_link(r#"</v2/a/tags/list?last=x&n=2>; rel="next""#).as_deref(),
            Some("/v2/a/tags/list?last=x&n=2")
        );
        assert_eq!(next_link(r#"</first>; rel="first", </next>; rel=next"#).as_deref(), Some("/next"));
        assert_eq!(next_link(r#"</first>; rel="first""#), None);
    }
}
