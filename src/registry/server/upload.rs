//! Blobs in: at once, in chunks, or mounted from another repository.
//!
//! An upload is known by a name that nobody guesses and lives in memory and in one file of the store. It survives a lost
//! connection (the client asks where it stands and goes on), not a restart of the server.

use super::error::{ApiError, Code};
use super::{Api, RegistryAction, blocking, headers, parameter};
use crate::{RegistryError, Repository, Upload};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt;
use http::{HeaderMap, StatusCode, header};
use hythe_model::Digest;
use hythe_model::render::size;
use hythe_oci::Hasher;
use std::collections::{HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// How long a request waits for the one before it to let go of the upload.
const BUSY: Duration = Duration::from_secs(10);

/// The uploads under way.
#[derive(Default)]
pub(super) struct Uploads(Mutex<HashMap<String, Entry>>);

#[derive(Clone)]
struct Entry {
    repository: Repository,
    /// Empty once the upload was taken out, to be published.
    session: Arc<AsyncMutex<Option<Session>>>,
}

/// An upload and all that arrived so far.
struct Session {
    upload: Upload,
    hasher: Hasher,
    size: u64,
    touched: Instant,
}

/// An upload in the hands of one request.
struct Held(OwnedMutexGuard<Option<Session>>);

impl Held {
    /// Takes it out: whoever waits for it finds that it is gone.
    fn take(mut self) -> Option<Session> {
        self.0.take()
    }
}

impl Deref for Held {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.0.as_ref().unwrap_or_else(|| unreachable!("an upload is held while it is there"))
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Session {
        self.0.as_mut().unwrap_or_else(|| unreachable!("an upload is held while it is there"))
    }
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, api: &Api, repository: Repository, upload: Upload) -> Result<String, ApiError> {
        let mut all = self.lock();
        let idle = api.options.upload_idle;
        let fresh = |session: &Option<Session>| session.as_ref().is_some_and(|s| s.touched.elapsed() < idle);
        all.retain(|_, entry| entry.session.try_lock().is_ok_and(|s| fresh(&s)) || entry.is_busy());
        if all.len() >= api.options.max_uploads {
            let message = "too many uploads are under way; try again later";
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, message));
        }
        let id = format!("{:032x}", rand::random::<u128>());
        let session = Session { upload, hasher: Hasher::default(), size: 0, touched: Instant::now() };
        all.insert(id.clone(), Entry { repository, session: Arc::new(AsyncMutex::new(Some(session))) });
        Ok(id)
    }

    async fn get(&self, repository: &Repository, id: &str) -> Result<Held, ApiError> {
        let entry = self.lock().get(id).filter(|entry| entry.repository == *repository).cloned();
        let session = entry.ok_or_else(unknown)?.session;
        let busy = "another request is writing to this upload";
        let busy = |_| ApiError::new(StatusCode::CONFLICT, Code::BlobUploadInvalid, busy);
        let session = tokio::time::timeout(BUSY, session.lock_owned()).await.map_err(busy)?;
        if session.is_some() { Ok(Held(session)) } else { Err(unknown()) }
    }

    fn remove(&self, id: &str) -> Option<Entry> {
        self.lock().remove(id)
    }
}

impl Entry {
    fn is_busy(&self) -> bool {
        self.session.try_lock().is_err()
    }
}

fn unknown() -> ApiError {
    ApiError::missing(Code::BlobUploadUnknown, "there is no such upload")
}

fn location(repository: &Repository, id: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

fn progress(status: StatusCode, repository: &Repository, id: &str, size: u64) -> Result<Response, ApiError> {
    let range = format!("0-{}", size.saturating_sub(1));
    let id_header = ("docker-upload-uuid", id.to_owned());
    headers(status, [("location", location(repository, id)), ("range", range), id_header])
}

fn created(repository: &Repository, digest: &Digest) -> Result<Response, ApiError> {
    let location = format!("/v2/{repository}/blobs/{digest}");
    let digest = digest.to_string();
    headers(StatusCode::CREATED, [("location", location), ("docker-content-digest", digest)])
}

/// `POST .../blobs/uploads/`: a mount, a blob at once, or the start of chunks.
pub(super) async fn start(api: &Api, repository: Repository, request: Request) -> Result<Response, ApiError> {
    expect_room(api, &repository, 0).await?;
    let query = request.uri().query().map(str::to_owned);
    let query = query.as_deref();
    if let Some(digest) = parameter(query, "mount")
        && let Some(response) =
            mount(api, &repository, &digest, parameter(query, "from"), request.headers()).await?
    {
        return Ok(response);
    }
    let digest = parameter(query, "digest").map(|text| super::digest(&text)).transpose()?;
    let store = api.store.clone();
    let upload = blocking(move || store.begin()).await?;
    let id = api.uploads.add(api, repository.clone(), upload)?;
    let Some(digest) = digest else {
        return progress(StatusCode::ACCEPTED, &repository, &id, 0);
    };
    // Nobody else knows its name: it goes with this request, however that ends.
    let _forget = Forget { uploads: &api.uploads, id: &id };
    let session = api.uploads.get(&repository, &id).await?;
    finish(api, &repository, &id, session, request, digest).await
}

/// Removes an upload when it goes out of scope.
struct Forget<'a> {
    uploads: &'a Uploads,
    id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.uploads.remove(self.id);
    }
}

/// A refusal where a tool's blobs, with so many bytes more, are more than they may be.
async fn expect_room(api: &Api, repository: &Repository, more: u64) -> Result<(), ApiError> {
    let most = api.options.max_tool_bytes;
    if !repository.is_of_a_tool() || most == u64::MAX {
        return Ok(());
    }
    let (store, of) = (api.store.clone(), repository.clone());
    let bytes = blocking(move || store.linked_bytes(&of, &HashSet::new())).await?;
    if bytes.saturating_add(more) <= most {
        return Ok(());
    }
    let message = format!(
        "the images of this tool take {}, and may take {}: delete some that you have tagged, or push again tomorrow",
        size(bytes),
        size(most)
    );
    Err(ApiError::new(StatusCode::FORBIDDEN, Code::Denied, message))
}

/// Links a blob of another repository, where the caller may read it there; otherwise it is uploaded like any other.
async fn mount(
    api: &Api,
    repository: &Repository,
    digest: &str,
    from: Option<String>,
    headers: &HeaderMap,
) -> Result<Option<Response>, ApiError> {
    let digest = super::digest(digest)?;
    let Some(from) = from.and_then(|name| name.parse::<Repository>().ok()) else { return Ok(None) };
    if api.tokens.check(api, headers, &[(&from, RegistryAction::Pull)]).is_err() {
        return Ok(None);
    }
    let (store, to, wanted) = (api.store.clone(), repository.clone(), digest.clone());
    let linked = blocking(move || {
        if !store.linked(&from, &wanted)? {
            return Ok(false);
        }
        match store.link(&to, &wanted) {
            Err(RegistryError::NoBlob(_)) => Ok(false),
            other => other.map(|()| true),
        }
    });
    if linked.await? { created(repository, &digest).map(Some) } else { Ok(None) }
}

/// `GET .../blobs/uploads/<id>`: where it stands.
pub(super) async fn status(api: &Api, repository: &Repository, id: &str) -> Result<Response, ApiError> {
    let session = api.uploads.get(repository, id).await?;
    progress(StatusCode::NO_CONTENT, repository, id, session.size)
}

/// `PATCH .../blobs/uploads/<id>`: more of it.
pub(super) async fn patch(
    api: &Api,
    repository: &Repository,
    id: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let session = api.uploads.get(repository, id).await?;
    let end = in_order(repository, id, session.size, request.headers())?;
    let session = receive(api, id, session, request.into_body()).await?;
    check_end(end, session.size)?;
    progress(StatusCode::ACCEPTED, repository, id, session.size)
}

/// `PUT .../blobs/uploads/<id>?digest=`: the rest of it, if any, and its digest.
pub(super) async fn put(
    api: &Api,
    repository: &Repository,
    id: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let missing = || ApiError::bad(Code::DigestInvalid, "the digest is missing");
    let digest = parameter(request.uri().query(), "digest").ok_or_else(missing)?;
    let digest = super::digest(&digest)?;
    let session = api.uploads.get(repository, id).await?;
    finish(api, repository, id, session, request, digest).await
}

/// `DELETE .../blobs/uploads/<id>`: it is not wanted any more.
pub(super) fn cancel(api: &Api, repository: &Repository, id: &str) -> Result<Response, ApiError> {
    let known = api.uploads.lock().get(id).is_some_and(|entry| entry.repository == *repository);
    if !known || api.uploads.remove(id).is_none() {
        return Err(unknown());
    }
    headers(StatusCode::NO_CONTENT, [])
}

async fn finish(
    api: &Api,
    repository: &Repository,
    id: &str,
    session: Held,
    request: Request,
    digest: Digest,
) -> Result<Response, ApiError> {
    let end = in_order(repository, id, session.size, request.headers())?;
    let session = receive(api, id, session, request.into_body()).await?;
    check_end(end, session.size)?;
    // From here on nobody else finds it, whoever waits for it included: it is published or gone.
    api.uploads.remove(id).ok_or_else(unknown)?;
    let session = session.take().ok_or_else(unknown)?;
    expect_room(api, repository, session.size).await?;
    let (to, wanted) = (repository.clone(), digest.clone());
    blocking(move || publish(session, &to, &wanted)).await?;
    created(repository, &digest)
}

fn publish(session: Session, repository: &Repository, digest: &Digest) -> Result<(), RegistryError> {
    // What arrived was hashed as SHA-256; a digest of another kind is computed from the file.
    if digest.algorithm() != "sha256" {
        return session.upload.commit_checked(repository, digest).map(|_| ());
    }
    let actual = session.hasher.finish();
    if actual != *digest {
        return Err(RegistryError::Mismatch { expected: digest.to_string(), actual: actual.to_string() });
    }
    session.upload.commit(repository, digest, session.size)
}

/// Refuses a chunk that does not begin where the last one ended; where a chunk will end, if it says so.
fn in_order(
    repository: &Repository,
    id: &str,
    size: u64,
    headers: &HeaderMap,
) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim_start_matches("bytes ");
    let text = text.split('/').next().unwrap_or_default();
    let numbers = |(first, last): (&str, &str)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?));
    let range = text.split_once('-').and_then(numbers);
    match range {
        Some((first, last)) if first == size && first <= last => Ok(Some(last)),
        _ => {
            let message = "the chunk does not begin where the last one ended";
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::BlobUploadInvalid, message);
            let range = format!("0-{}", size.saturating_sub(1));
            Err(error.with("location", location(repository, id)).with("range", range))
        }
    }
}

/// Refuses a chunk that was shorter or longer than it said.
fn check_end(end: Option<u64>, size: u64) -> Result<(), ApiError> {
    match end {
        Some(last) if last.checked_add(1) != Some(size) => {
            Err(ApiError::bad(Code::SizeInvalid, "the chunk is not as long as its range says"))
        }
        _ => Ok(()),
    }
}

/// Writes a body to the upload as it arrives. A connection that breaks leaves what arrived; a full disk, or too many
/// bytes, ends the upload.
async fn receive(api: &Api, id: &str, mut session: Held, body: Body) -> Result<Held, ApiError> {
    let (chunks, mut queue) = tokio::sync::mpsc::channel::<Bytes>(8);
    let max = api.options.max_blob_bytes;
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(chunk) = queue.blocking_recv() {
            if session.size + chunk.len() as u64 > max {
                return Err(Failure::TooLarge);
            }
            session.upload.write(&chunk).map_err(Failure::Store)?;
            session.hasher.update(&chunk);
            session.size += chunk.len() as u64;
            session.touched = Instant::now();
        }
        Ok(session)
    });
    let mut stream = body.into_data_stream();
    let mut broken = None;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                if chunks.send(chunk).await.is_err() {
                    break;
                }
            }
            Err(e) => {
                broken = Some(e);
                break;
            }
        }
    }
    drop(chunks);
    let session = match writer.await.map_err(|e| ApiError::internal(&e))? {
        Ok(session) => session,
        Err(failure) => {
            api.uploads.remove(id);
            return Err(failure.into());
        }
    };
    match broken {
        None => Ok(session),
        Some(e) => Err(ApiError::bad(Code::BlobUploadInvalid, format!("the body broke off: {e}"))),
    }
}

enum Failure {
    TooLarge,
    Store(RegistryError),
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error.into(),
            Failure::TooLarge => {
                let message = "the blob is larger than this registry takes";
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid, message)
            }
        }
    }
}
