//! Blobs out: whole or a range, streamed.

use super::error::{ApiError, Code};
use super::{Api, IntoResponseWith, blocking};
use crate::Repository;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hythe_model::Digest;
use std::io::SeekFrom;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

fn unknown() -> ApiError {
    ApiError::missing(Code::BlobUnknown, "the repository has no such blob")
}

pub(super) async fn get(
    api: &Api,
    repository: &Repository,
    digest: Digest,
    headers: &HeaderMap,
    head: bool,
) -> Result<Response, ApiError> {
    let (store, repository, wanted) = (api.store.clone(), repository.clone(), digest.clone());
    let opened = blocking(move || {
        if !store.linked(&repository, &wanted)? {
            return Ok(None);
        }
        let (file, size) = (store.open_blob(&wanted)?, store.size(&wanted)?);
        Ok(size.map(|size| (file, size)))
    });
    let (file, size) = opened.await?.ok_or_else(unknown)?;
    let range = match range(headers, size) {
        Range::Whole => None,
        Range::Part(first, last) => Some((first, last)),
        Range::Outside => {
            let outside =
                ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::SizeInvalid, "the range is outside");
            return Err(outside.with("content-range", format!("bytes */{size}")));
        }
    };
    let (first, length) = range.map_or((0, size), |(first, last)| (first, last - first + 1));
    let body = if head {
        Body::empty()
    } else {
        let mut file = tokio::fs::File::from_std(file);
        if first > 0 {
            file.seek(SeekFrom::Start(first)).await.map_err(|e| ApiError::internal(&e))?;
        }
        Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK))
    };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = body.into_response_with(status);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(value) = HeaderValue::from_str(digest.as_str()) {
        headers.insert("docker-content-digest", value);
    }
    if let Some((first, last)) = range
        && let Ok(value) = HeaderValue::from_str(&format!("bytes {first}-{last}/{size}"))
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

pub(super) async fn delete(api: &Api, repository: Repository, digest: Digest) -> Result<Response, ApiError> {
    let store = api.store.clone();
    let removed = blocking(move || store.unlink(&repository, &digest)).await?;
    if removed { Ok(().into_response_with(StatusCode::ACCEPTED)) } else { Err(unknown()) }
}

/// What part of a blob a request wants.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part(u64, u64),
    Outside,
}

/// Reads `Range: bytes=...` (RFC 9110, section 14.2): one range is honoured; several, or nonsense, mean the whole.
fn range(headers: &HeaderMap, size: u64) -> Range {
    let text = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = text.and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
        return Range::Whole;
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Range::Whole,
        (Ok(first), _) if first >= size && (last.trim().is_empty() || last.trim().parse::<u64>().is_ok()) => {
            Range::Outside
        }
        (Ok(first), Ok(last)) => Range::Part(first, last.min(size - 1)),
        (Ok(first), Err(_)) if last.trim().is_empty() => Range::Part(first, size - 1),
        (Err(_), Ok(0)) if first.trim().is_empty() => Range::Outside,
        (Err(_), Ok(_)) if first.trim().is_empty() && size == 0 => Range::Outside,
        (Err(_), Ok(length)) if first.trim().is_empty() => Range::Part(size.saturating_sub(length), size - 1),
        _ => Range::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        let read = |text: &str, size| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_str(text).unwrap());
            range(&headers, size)
        };
        for (text, expected) in [
            ("bytes=0-3", Range::Part(0, 3)),
            ("bytes=2-", Range::Part(2, 9)),
            ("bytes=-4", Range::Part(6, 9)),
            ("bytes=-40", Range::Part(0, 9)),
            ("bytes=5-500", Range::Part(5, 9)),
            ("bytes=10-", Range::Outside),
            ("bytes=10-12", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=3-2", Range::Whole),
            ("bytes=0-1,4-5", Range::Whole),
            ("bytes=x-", Range::Whole),
            ("lines=0-1", Range::Whole),
        ] {
            assert_eq!(read(text, 10), expected, "{text}");
        }
        assert_eq!((read("bytes=0-", 0), read("bytes=-1", 0)), (Range::Outside, Range::Outside));
    }
}
