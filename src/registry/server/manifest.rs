//! Manifests, tags and referrers.

use super::error::{ApiError, Code};
use super::{Api, IntoResponseWith, blocking, headers, parameter};
use crate::store::Pointers;
use crate::{ContentStore, Reference, RegistryError, Repository};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::LengthLimitError;
use hythe_model::Digest;
use hythe_oci::Descriptor;
use hythe_oci::image::{MAX_MANIFEST, media_type};
use std::error::Error;

fn unknown() -> ApiError {
    ApiError::missing(Code::ManifestUnknown, "the repository has no such manifest")
}

pub(super) async fn get(
    api: &Api,
    repository: Repository,
    reference: Reference,
    head: bool,
) -> Result<Response, ApiError> {
    let store = api.store.clone();
    let manifest = blocking(move || store.manifest(&repository, &reference)).await?.ok_or_else(unknown)?;
    let length = manifest.bytes.len();
    let body = if head { Body::empty() } else { Body::from(manifest.bytes) };
    let mut response = body.into_response_with(StatusCode::OK);
    let fields =
        [("content-type", manifest.media_type), ("docker-content-digest", manifest.digest.to_string())];
    for (name, value) in fields {
        let value = HeaderValue::from_str(&value).map_err(|e| ApiError::internal(&e))?;
        response.headers_mut().insert(name, value);
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

pub(super) async fn put(
    api: &Api,
    repository: Repository,
    reference: Reference,
    request: Request,
) -> Result<Response, ApiError> {
    let declared = declared_type(request.headers());
    let bytes = axum::body::to_bytes(request.into_body(), MAX_MANIFEST).await.map_err(|e| unread(&e))?;
    let pointers: Pointers = serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::bad(Code::ManifestInvalid, format!("this is not a manifest: {e}")))?;
    let kind = resolve_type(declared, &pointers)?;
    let subject = pointers.subject.as_ref().map(|subject| subject.digest.to_string());
    let (store, to, by) = (api.store.clone(), repository.clone(), reference);
    let stored = blocking(move || match first_missing(&store, &to, &pointers)? {
        Some(digest) => Ok(Err(digest)),
        None => store.put_manifest(&to, &by, &kind, &bytes).map(Ok),
    });
    let digest = stored.await?.map_err(|missing| {
        ApiError::bad(Code::ManifestBlobUnknown, format!("the repository does not have {missing}"))
    })?;
    let location = format!("/v2/{repository}/manifests/{digest}");
    let fields = [("location", location), ("docker-content-digest", digest.to_string())];
    let mut response = headers(StatusCode::CREATED, fields)?;
    if let Some(subject) = subject.and_then(|subject| HeaderValue::from_str(&subject).ok()) {
        response.headers_mut().insert("oci-subject", subject);
    }
    Ok(response)
}

/// A body that is too large, or that broke off.
fn unread(error: &axum::Error) -> ApiError {
    if error.source().and_then(|cause| cause.downcast_ref::<LengthLimitError>()).is_some() {
        let message = format!("a manifest may have at most {MAX_MANIFEST} bytes");
        return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid, message);
    }
    ApiError::bad(Code::ManifestInvalid, format!("the body broke off: {error}"))
}

/// The media type that a request declares, without parameters.
fn declared_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = text.split(';').next().unwrap_or_default().trim();
    (!kind.is_empty()).then(|| kind.to_owned())
}

/// One type for a manifest: what is declared must be what it says of itself.
fn resolve_type(declared: Option<String>, pointers: &Pointers) -> Result<String, ApiError> {
    let own = pointers.media_type.clone();
    let refused = |why: &str| Err(ApiError::bad(Code::ManifestInvalid, why));
    match (declared, own) {
        (Some(declared), Some(own)) if declared != own => {
            refused("the manifest's mediaType is not the Content-Type it came with")
        }
        (Some(kind), _) | (None, Some(kind)) => {
            let listed = |c: char| c.is_ascii_alphanumeric() || "!#$&^_.+-/".contains(c);
            if kind.len() > 255 || !kind.contains('/') || !kind.chars().all(listed) {
                return refused("the media type is not one");
            }
            Ok(kind)
        }
        (None, None) => Ok(media_type::MANIFEST.to_owned()),
    }
}

/// The first thing that a manifest names and the repository does not have. Content that lives elsewhere is not asked
/// for, nor is the subject, which may come later.
fn first_missing(
    store: &ContentStore,
    repository: &Repository,
    pointers: &Pointers,
) -> Result<Option<Digest>, RegistryError> {
    let here = |descriptor: &&Descriptor| {
        descriptor.urls.is_empty() && !descriptor.media_type.contains("nondistributable")
    };
    for blob in pointers.config.iter().chain(&pointers.layers).filter(here) {
        if !store.linked(repository, &blob.digest)? {
            return Ok(Some(blob.digest.clone()));
        }
    }
    for manifest in &pointers.manifests {
        if store.manifest(repository, &manifest.digest.clone().into())?.is_none() {
            return Ok(Some(manifest.digest.clone()));
        }
    }
    Ok(None)
}

/// A tag goes alone; a manifest goes with its tags, unless somebody counts on it.
pub(super) async fn delete(
    api: &Api,
    repository: Repository,
    reference: Reference,
) -> Result<Response, ApiError> {
    if let Reference::Digest(digest) = &reference
        && api.auth.in_use(&repository, digest).await
    {
        let message = "the image is that of a release that is live, rolls out or is kept to go back to";
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, message));
    }
    let store = api.store.clone();
    let removed = blocking(move || store.delete_manifest(&repository, &reference)).await?;
    if removed { Ok(().into_response_with(StatusCode::ACCEPTED)) } else { Err(unknown()) }
}

/// `GET .../tags/list?n=&last=`: sorted, a page at a time where `n` is given.
pub(super) async fn tags(
    api: &Api,
    repository: Repository,
    query: Option<&str>,
) -> Result<Response, ApiError> {
    let invalid = || ApiError::bad(Code::PaginationNumberInvalid, "n is not a number");
    let count = parameter(query, "n").map(|n| n.parse::<usize>().map_err(|_| invalid())).transpose()?;
    let last = parameter(query, "last");
    let (store, of) = (api.store.clone(), repository.clone());
    let tags = blocking(move || Ok(if store.is_known(&of) { Some(store.tags(&of)?) } else { None }));
    let absent = || ApiError::missing(Code::NameUnknown, "there is no such repository");
    let tags = tags.await?.ok_or_else(absent)?;
    let after = |tag: &String| last.as_ref().is_none_or(|last| tag > last);
    let mut tags: Vec<String> = tags.into_iter().map(String::from).filter(after).collect();
    let more = count.is_some_and(|count| tags.len() > count);
    tags.truncate(count.unwrap_or(usize::MAX));
    let next = match (tags.last(), count) {
        (Some(last), Some(count)) if more => {
            Some(format!("</v2/{repository}/tags/list?n={count}&last={last}>; rel=\"next\""))
        }
        _ => None,
    };
    let body = serde_json::json!({"name": repository.as_str(), "tags": tags});
    let mut response = axum::Json(body).into_response_with(StatusCode::OK);
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

/// `GET .../referrers/<digest>?artifactType=`: an index, empty where nothing refers.
pub(super) async fn referrers(
    api: &Api,
    repository: Repository,
    digest: Digest,
    query: Option<&str>,
) -> Result<Response, ApiError> {
    let filter = parameter(query, "artifactType");
    let store = api.store.clone();
    let mut found = blocking(move || store.referrers(&repository, &digest)).await?;
    if let Some(kind) = &filter {
        found.retain(|descriptor| descriptor.artifact_type.as_ref() == Some(kind));
    }
    let body = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": found});
    let mut response = body.to_string().into_response_with(StatusCode::OK);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type::INDEX));
    if filter.is_some() {
        let applied = HeaderValue::from_static("artifactType");
        response.headers_mut().insert("oci-filters-applied", applied);
    }
    Ok(response)
}
