//! Reads a path of the API: repository names have slashes, so that it is read from its end.

use super::error::{ApiError, Code};
use crate::{Reference, Repository};
use hythe_model::Digest;

/// What a path is about, within a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Blob(Digest),
    Uploads,
    Upload(String),
    Manifest(Reference),
    Tags,
    Referrers(Digest),
}

/// Reads the path after `/v2/`.
pub(super) fn parse(path: &str) -> Result<(Repository, Endpoint), ApiError> {
    let parts: Vec<&str> = path.split('/').collect();
    let (name, endpoint) = match parts.as_slice() {
        [name @ .., "blobs", "uploads", ""] | [name @ .., "blobs", "uploads"] => (name, Endpoint::Uploads),
        [name @ .., "blobs", "uploads", id] => (name, Endpoint::Upload((*id).to_owned())),
        [name @ .., "blobs", digest] => (name, Endpoint::Blob(super::digest(digest)?)),
        [name @ .., "manifests", reference] => {
            let reference = reference.parse();
            let invalid = || ApiError::bad(Code::ManifestInvalid, "this is neither a tag nor a digest");
            (name, Endpoint::Manifest(reference.map_err(|_| invalid())?))
        }
        [name @ .., "tags", "list"] => (name, Endpoint::Tags),
        [name @ .., "referrers", digest] => (name, Endpoint::Referrers(super::digest(digest)?)),
        _ => return Err(ApiError::missing(Code::NameUnknown, "there is nothing at this path")),
    };
    let invalid = || ApiError::bad(Code::NameInvalid, "this is not a repository name");
    Ok((name.join("/").parse().map_err(|_| invalid())?, endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_any_words_are_read_from_the_end() {
        let read = |path: &str| parse(path).map(|(name, endpoint)| (name.to_string(), endpoint)).ok();
        assert_eq!(read("a/b/blobs/uploads/"), Some(("a/b".into(), Endpoint::Uploads)));
        assert_eq!(read("a/blobs/uploads/x"), Some(("a".into(), Endpoint::Upload("x".into()))));
        assert_eq!(read("blobs/uploads/tags/list"), Some(("blobs/uploads".into(), Endpoint::Tags)));
        let latest = Endpoint::Manifest("latest".parse().unwrap());
        assert_eq!(read("a/manifests/manifests/latest"), Some(("a/manifests".into(), latest)));
        for bad in
            ["", "a", "tags/list", "../manifests/x", "a/../blobs/uploads/", "A/tags/list", "a/blobs/sha256:1"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
