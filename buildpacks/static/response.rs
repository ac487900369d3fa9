//! Answers to requests.

use crate::path::{Target, resolve};
use crate::range::{Part, parse};
use crate::types::content_type;
use bytes::Bytes;
use futures::TryStreamExt;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// The body of an answer: a stream of a file, or a few words.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A site, and the tags of the files that were asked for.
pub(crate) struct Site {
    root: PathBuf,
    tags: Mutex<HashMap<PathBuf, (u64, HeaderValue)>>,
}

impl Site {
    /// The site below this folder.
    pub(crate) fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { root: root.canonicalize()?, tags: Mutex::default() })
    }

    /// Answers a request.
    pub(crate) async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = words(StatusCode::METHOD_NOT_ALLOWED, "This site can only be read.\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let answer = match resolve(&self.root, request.uri().path()) {
            Target::File(path) => self.file(&path, request.headers(), StatusCode::OK).await,
            Target::Folder(address) => Ok(redirect(&address, request.uri().query())),
            Target::Missing => self.missing(request.headers()).await,
        };
        let answer = answer.unwrap_or_else(|error| {
            eprintln!("static-server: {}: {error}", request.uri().path());
            words(StatusCode::INTERNAL_SERVER_ERROR, "The file cannot be read.\n")
        });
        if *request.method() == Method::HEAD { answer.map(|_| empty()) } else { answer }
    }

    /// The site's own page for what is not there, else a few words.
    async fn missing(&self, headers: &HeaderMap) -> io::Result<Response<Body>> {
        let Target::File(page) = resolve(&self.root, "/404.html") else {
            return Ok(words(StatusCode::NOT_FOUND, "There is no such page.\n"));
        };
        let mut plain = headers.clone();
        plain.remove(header::RANGE);
        plain.remove(header::IF_NONE_MATCH);
        self.file(&page, &plain, StatusCode::NOT_FOUND).await
    }

    async fn file(&self, path: &Path, request: &HeaderMap, status: StatusCode) -> io::Result<Response<Body>> {
        let mut file = tokio::fs::File::open(path).await?;
        let length = file.metadata().await?.len();
        let tag = self.tag(path, length).await?;
        let mut answer = Response::new(empty());
        let headers = answer.headers_mut();
        headers.insert(header::ETAG, tag.clone());
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        // Addresses stay the same from release to release, so that every use asks whether the file has changed.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if unchanged(request, &tag) {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(answer);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(path)));
        let (first, end) = match parse(asked_range(request, &tag), length) {
            Part::Unsatisfiable => {
                headers.insert(header::CONTENT_RANGE, value(&format!("bytes */{length}"))?);
                headers.remove(header::CONTENT_TYPE);
                *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                return Ok(answer);
            }
            Part::Whole => {
                *answer.status_mut() = status;
                (0, length)
            }
            Part::Bytes(first, end) => {
                headers.insert(header::CONTENT_RANGE, value(&format!("bytes {first}-{}/{length}", end - 1))?);
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                (first, end)
            }
        };
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(end - first));
        file.seek(SeekFrom::Start(first)).await?;
        let stream = ReaderStream::with_capacity(file.take(end - first), 64 * 1024).map_ok(Frame::data);
        *answer.body_mut() = StreamBody::new(stream).boxed();
        Ok(answer)
    }

    /// The tag of a file, by its content: times are the same for all files of an image.
    async fn tag(&self, path: &Path, length: u64) -> io::Result<HeaderValue> {
        let known = self.tags.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some((_, tag)) = known.filter(|(bytes, _)| *bytes == length) {
            return Ok(tag);
        }
        let owned = path.to_owned();
        let hash = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::open(owned)?;
            Ok::<_, io::Error>(blake3::Hasher::new().update_reader(file)?.finalize())
        });
        let hash = hash.await.map_err(io::Error::other)??;
        let tag = value(&format!("\"{}\"", &hash.to_hex()[..24]))?;
        let entry = (length, tag.clone());
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), entry);
        Ok(tag)
    }
}

/// The range that a request asks for, unless it was meant for another version of the file.
fn asked_range<'a>(request: &'a HeaderMap, tag: &HeaderValue) -> Option<&'a str> {
    let same = request.get(header::IF_RANGE).is_none_or(|version| version == tag);
    request.get(header::RANGE).filter(|_| same).and_then(|value| value.to_str().ok())
}

/// Whether the client has this version already.
fn unchanged(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let Some(asked) = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let tags = asked.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
    tags.into_iter().any(|asked| asked == "*" || asked.as_bytes() == tag.as_bytes())
}

fn redirect(address: &str, query: Option<&str>) -> Response<Body> {
    let mut answer = words(StatusCode::PERMANENT_REDIRECT, "It is a folder.\n");
    let address = query.map_or_else(|| address.to_owned(), |query| format!("{address}?{query}"));
    if let Ok(address) = HeaderValue::try_from(address) {
        answer.headers_mut().insert(header::LOCATION, address);
    }
    answer
}

fn words(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = Response::new(Full::from(text).map_err(|never| match never {}).boxed());
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn value(text: &str) -> io::Result<HeaderValue> {
    HeaderValue::try_from(text).map_err(io::Error::other)
}
