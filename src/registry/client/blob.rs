//! Blobs: looked for, taken over from another repository, sent.

use super::{ClientError, Session, refusal};
use crate::Repository;
use futures::StreamExt;
use hythe_model::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Response, StatusCode, Url};
use std::fs::File;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::io::ReaderStream;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// How long an upload may stand still.
const STILL: Duration = Duration::from_mins(1);
/// How long the registry may take to put a blob in its place once all of it is sent: some copy it then.
const LANDING: Duration = Duration::from_mins(5);

/// What came of the wish to send a blob.
pub(crate) enum Begun {
    /// It is there: taken over from another repository.
    Mounted,
    /// It is to be sent there.
    At(Url),
}

impl Session<'_> {
    /// Whether the repository has this blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, ClientError> {
        const WHAT: &str = "say whether it has a blob";
        let url = self.url(&format!("blobs/{digest}"))?;
        let response = self.ask(|http| http.head(url.clone())).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal(WHAT, response).await),
        }
    }

    /// Begins to send a blob, where it cannot be taken over from another repository.
    pub(crate) async fn begin(
        &self,
        digest: &Digest,
        from: Option<&Repository>,
    ) -> Result<Begun, ClientError> {
        const WHAT: &str = "take a blob";
        let url = self.url("blobs/uploads/")?;
        let response = match from {
            Some(from) => {
                let query = [("mount", digest.as_str()), ("from", from.as_str())];
                let mounted =
                    self.ask(|http| http.post(url.clone()).query(&query).header(CONTENT_LENGTH, 0)).await?;
                // Who may not read there sends it.
                if mounted.status().is_client_error() { self.begin_plainly(&url).await? } else { mounted }
            }
            None => self.begin_plainly(&url).await?,
        };
        match response.status() {
            StatusCode::CREATED => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => location(WHAT, &response).map(Begun::At),
            _ => Err(refusal(WHAT, response).await),
        }
    }

    async fn begin_plainly(&self, url: &Url) -> Result<Response, ClientError> {
        self.ask(|http| http.post(url.clone()).header(CONTENT_LENGTH, 0)).await
    }

    /// Sends a whole blob in one request, straight from its file. The registry checks the digest.
    pub(crate) async fn send(
        &self,
        at: Url,
        digest: &Digest,
        size: u64,
        file: File,
    ) -> Result<(), ClientError> {
        const WHAT: &str = "take a blob";
        let mut url = at;
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let (moves, seen) = watch::channel(());
        let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE);
        let pieces = pieces.inspect(move |_| moves.send_replace(()));
        let request = self.client.http.put(url.clone()).header(CONTENT_LENGTH, size);
        let request =
            request.header(CONTENT_TYPE, "application/octet-stream").body(Body::wrap_stream(pieces));
        let shown = self.shown().filter(|_| self.is_home(&url));
        let request = shown.into_iter().fold(request, |request, shown| shown.on(request));
        let response = tokio::select! {
            sent = request.send() => sent.map_err(|e| ClientError::broken(&e))?,
            () = stands_still(seen) => {
                return Err(ClientError::Away("the upload stands still".to_owned()));
            }
        };
        match response.status() {
            StatusCode::CREATED => Ok(()),
            // What was shown a moment ago has run out: the next try shows something new.
            StatusCode::UNAUTHORIZED => Err(ClientError::Away("it asks again who this is".to_owned())),
            _ => Err(refusal(WHAT, response).await),
        }
    }

    /// Gives an upload up that was begun.
    pub(crate) async fn cancel(&self, at: Url) -> Result<(), ClientError> {
        // Elsewhere nothing is shown, and nobody need tidy up for us.
        if self.is_home(&at) { self.ask(|http| http.delete(at.clone())).await.map(drop) } else { Ok(()) }
    }
}

/// Returns where nothing has moved for too long.
async fn stands_still(mut seen: watch::Receiver<()>) {
    while let Ok(moved) = tokio::time::timeout(STILL, seen.changed()).await {
        // All of it is sent.
        if moved.is_err() {
            return tokio::time::sleep(LANDING).await;
        }
    }
}

fn location(what: &'static str, response: &Response) -> Result<Url, ClientError> {
    let place =
        response.headers().get(LOCATION).and_then(|value| response.url().join(value.to_str().ok()?).ok());
    place.ok_or_else(|| ClientError::Odd { what, why: "it does not say where to".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_be_slow_and_not_stand_still() {
        let (moves, seen) = watch::channel(());
        let slowly = async {
            for _ in 0..10 {
                sleep(STILL * 9 / 10).await;
                moves.send_replace(());
            }
        };
        assert!(
            timeout(STILL * 9, async { tokio::join!(slowly, stands_still(seen.clone())) }).await.is_err()
        );
        let begun = Instant::now();
        stands_still(seen.clone()).await;
        assert_eq!(begun.elapsed(), STILL);
        drop(moves);
        let sent = Instant::now();
        stands_still(seen).await;
        assert_eq!(sent.elapsed(), LANDING);
    }
}
