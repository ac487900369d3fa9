//! Answers that come line by line: JSON lines, with empty ones while nothing happens.

use super::error::ApiError;
use super::work::Work;
use crate::types::{self, Progress};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use hythe_model::{Fault, Release};
use hythe_registry::Prefix;
use serde::Serialize;
use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The media type of JSON lines.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// How long a stream may be silent before an empty line keeps it open.
const SILENCE: Duration = Duration::from_millis(if cfg!(test) { 60 } else { 15_000 });
/// How long the end of something that is over may be on its way.
const LATE: Duration = Duration::from_millis(if cfg!(test) { 60 } else { 5_000 });
/// How often a verb that waits says so.
const TICK: Duration = Duration::from_millis(if cfg!(test) { 60 } else { 1_000 });

/// A stream of objects as an answer. It ends when `stop` is cancelled or, cut off, at the first error.
pub(crate) fn lines<T, E, S>(objects: S, stop: CancellationToken) -> Response
where
    T: Serialize + 'static,
    E: std::fmt::Display + 'static,
    S: Stream<Item = Result<T, E>> + Send + 'static,
{
    let state = (objects.boxed(), stop);
    let body = futures::stream::unfold(state, |(mut objects, stop)| async move {
        let line = tokio::select! {
            biased;
            object = objects.next() => object?.map_err(|error| error.to_string()).and_then(|object| line_of(&object)),
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(SILENCE) => Ok(Bytes::from_static(b"\n")),
        };
        let line = line.inspect_err(|error| tracing::error!(error, "a stream was cut off"));
        Some((line.map_err(std::io::Error::other), (objects, stop)))
    });
    answer(Body::from_stream(body))
}

/// The objects of something that is over: its last one may be on its way still, or was lost to a full disk.
pub(crate) fn until_silent<S: Stream + Unpin + Send>(objects: S) -> impl Stream<Item = S::Item> + Send {
    futures::stream::unfold(objects, |mut objects| async move {
        let object = tokio::time::timeout(LATE, objects.next()).await.ok()??;
        Some((object, objects))
    })
}

fn line_of<T: Serialize>(object: &T) -> Result<Bytes, String> {
    let mut line = serde_json::to_vec(object).map_err(|error| error.to_string())?;
    line.push(b'\n');
    Ok(line.into())
}

fn answer(body: Body) -> Response {
    ([(CONTENT_TYPE, NDJSON), (CACHE_CONTROL, "no-store")], body).into_response()
}

/// Does work to its end, whoever goes on listening; it is among `all` until then.
pub(crate) async fn to_its_end<T: Send + 'static>(
    all: &Work,
    work: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Fault> {
    joined(all.begin(work).await)
}

/// Does work that takes long, to its end whoever goes on listening, and says how it stands. It is among `all` until then.
///
/// What is refused within the first second is an answer with the fault's own status; later the stream's last line tells. Images
/// of releases are pulled from `images`.
pub(crate) async fn progress<F>(all: &Work, images: &Prefix, work: F) -> Result<Response, ApiError>
where
    F: Future<Output = Result<Option<Release>, Fault>> + Send + 'static,
{
    let (begun, images) = (Instant::now(), images.clone());
    let mut task = all.begin(work);
    let first = match tokio::time::timeout(TICK, &mut task).await {
        Ok(ended) => Step::Done(joined(ended)?.map(Box::new)),
        Err(_) => Step::Working(task),
    };
    let steps = futures::stream::unfold((first, images), move |(step, images)| async move {
        let (line, next) = step.take(begun, &images).await?;
        Some((Ok::<_, Infallible>(line), (next, images)))
    });
    // No stop: a release on its way is finished while the server drains.
    Ok(lines(steps, CancellationToken::new()))
}

type Ended = Result<Option<Release>, Fault>;

/// What is left to say.
enum Step {
    Working(JoinHandle<Ended>),
    Done(Option<Box<Release>>),
    Over,
}

impl Step {
    async fn take(self, begun: Instant, images: &Prefix) -> Option<(Progress, Self)> {
        let millis = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let done = |release: Option<Box<Release>>| {
            let release = release.map(|release| Box::new(types::Release::of(*release, images)));
            (Progress::Done { release, millis: millis() }, Self::Over)
        };
        match self {
            Self::Over => None,
            Self::Done(release) => Some(done(release)),
            Self::Working(mut task) => match tokio::time::timeout(TICK, &mut task).await {
                Err(_) => Some((Progress::Waiting { millis: millis() }, Self::Working(task))),
                Ok(ended) => Some(match joined(ended) {
                    Ok(release) => done(release.map(Box::new)),
                    Err(fault) => (Progress::Failed { fault }, Self::Over),
                }),
            },
        }
    }
}

fn joined<T>(ended: Result<Result<T, Fault>, tokio::task::JoinError>) -> Result<T, Fault> {
    ended.unwrap_or_else(|error| {
        tracing::error!(error = %error, "work for a request ended early");
        Err(Fault::new("platform/internal", "The platform failed.").next("Try again, or tell the operator."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body_util::BodyExt;
    use std::sync::LazyLock;

    static NOWHERE: LazyLock<Prefix> = LazyLock::new(Prefix::default);

    /// The whole of an answer's body.
    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_silent_stream_stays_open_and_ends_when_the_server_drains() {
        let stop = CancellationToken::new();
        let objects = stream::iter([Ok::<_, Infallible>(1)]).chain(stream::pending());
        let mut body = lines(objects, stop.clone()).into_body().into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), "1\n");
        assert_eq!(body.next().await.unwrap().unwrap(), "\n");
        stop.cancel();
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn what_is_over_is_not_waited_for() {
        let soon = stream::once(async { tokio::time::sleep(LATE / 2).await });
        let objects = stream::iter([()]).chain(soon).chain(stream::pending());
        assert_eq!(until_silent(objects.boxed()).count().await, 2);
    }

    #[tokio::test]
    async fn a_stream_that_fails_is_cut_off() {
        let objects = stream::iter([Ok(1), Err("disk"), Ok(2)]);
        let body = lines(objects, CancellationToken::new()).into_body();
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn what_fails_at_once_has_a_status_and_what_fails_later_a_line() {
        let fault = || Fault::new("releases/none", "Nothing is deployed yet.");
        let all = Work::default();
        let early = progress(&all, &NOWHERE, async move { Err(fault()) }).await.unwrap_err();
        assert_eq!(early.status(), axum::http::StatusCode::CONFLICT);
        let late = progress(&all, &NOWHERE, async move {
            tokio::time::sleep(TICK * 5 / 2).await;
            Err(fault())
        });
        let text = text(late.await.unwrap()).await;
        let said: Vec<_> = text.lines().map(|line| serde_json::from_str::<Progress>(line).unwrap()).collect();
        let (last, before) = said.split_last().unwrap();
        assert!(matches!(last, Progress::Failed { .. }), "{text}");
        assert!(
            !before.is_empty() && before.iter().all(|line| matches!(line, Progress::Waiting { .. })),
            "{text}"
        );
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_listens_and_is_waited_for() {
        let (told, mut heard) = tokio::sync::oneshot::channel();
        let all = Work::default();
        let response = progress(&all, &NOWHERE, async move {
            tokio::time::sleep(TICK * 2).await;
            let _ = told.send(());
            Ok(None)
        });
        drop(response.await.unwrap());
        all.over().await;
        assert_eq!((heard.try_recv(), all.left()), (Ok(()), 0), "it was done before it was over");
    }

    #[tokio::test]
    async fn work_goes_on_when_its_caller_leaves() {
        let (told, mut heard) = tokio::sync::oneshot::channel();
        let all = Work::default();
        let work = to_its_end(&all, async move {
            tokio::time::sleep(TICK).await;
            let _ = told.send(());
            Ok(())
        });
        assert!(tokio::time::timeout(TICK / 2, work).await.is_err(), "the caller left");
        all.over().await;
        assert_eq!(heard.try_recv(), Ok(()), "it was done before it was over");
    }
}
