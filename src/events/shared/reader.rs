//! Readers of shared logs: what is stored first, then what comes, whoever writes it.

use super::followed::Reach;
use super::writer::Line;
use super::{LARGEST, SharedLogs, failed_read, key, name};
use crate::{EventsError, LoggedEvent};
use futures::stream::{self, BoxStream, StreamExt};
use hythe_model::BuildId;
use hythe_store::LogState;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a reader waits without looking: it may not have been told.
const LOOK: Duration = Duration::from_secs(2);

struct Reader {
    logs: Arc<SharedLogs>,
    build: BuildId,
    /// The last event that was read, or is not wanted.
    after: u64,
    ready: VecDeque<LoggedEvent>,
    followed: Option<watch::Receiver<Reach>>,
}

/// The events from this position on; `wait`s for more where the log has not ended.
pub(super) fn read(
    logs: Arc<SharedLogs>,
    build: BuildId,
    from: u64,
    wait: bool,
) -> BoxStream<'static, Result<LoggedEvent, EventsError>> {
    let (after, ready) = (from.saturating_sub(1), VecDeque::new());
    let reader = Reader { logs, build, after, ready, followed: None };
    let next =
        move |mut reader: Reader| async move { Ok(reader.next(wait).await?.map(|event| (event, reader))) };
    stream::try_unfold(reader, next).boxed()
}

impl Reader {
    async fn next(&mut self, wait: bool) -> Result<Option<LoggedEvent>, EventsError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.after = event.position;
                return Ok(Some(event));
            }
            let (events, state) = stored(&self.logs, self.build, self.after).await?;
            self.ready.extend(events);
            if !self.ready.is_empty() {
                continue;
            }
            // A log that is not there any more was removed.
            if !wait || state.is_some_and(|state| state.ended) || (state.is_none() && self.after > 0) {
                return Ok(None);
            }
            self.wait().await;
        }
    }

    /// Waits until the log has come further than it was seen to, or a while.
    async fn wait(&mut self) {
        let followed = self.followed.get_or_insert_with(|| self.logs.followed.follow(&name(self.build)));
        let _ = tokio::time::timeout(LOOK, followed.changed()).await;
    }
}

/// Some events behind a position, none where there are none, and how far the log has come.
pub(super) async fn stored(
    logs: &SharedLogs,
    build: BuildId,
    after: u64,
) -> Result<(Vec<LoggedEvent>, Option<LogState>), EventsError> {
    let read = |error: &dyn std::fmt::Display| failed_read(build, error);
    let (state, pieces) =
        logs.place.store.log_pieces(&name(build), after).await.map_err(|error| read(&error))?;
    if state.is_some_and(|state| state.closed) {
        return Ok((closed(logs, build, after).await?, state));
    }
    let mut events = Vec::new();
    for piece in pieces {
        for (position, line) in (piece.first..).zip(&piece.lines) {
            if position > after {
                let Line { at, event } = serde_json::from_str(line).map_err(|error| read(&error))?;
                events.push(LoggedEvent { position, at, event });
            }
        }
    }
    Ok((events, state))
}

/// The events behind a position of a log that is an object.
async fn closed(logs: &SharedLogs, build: BuildId, after: u64) -> Result<Vec<LoggedEvent>, EventsError> {
    let read = |error: &dyn std::fmt::Display| failed_read(build, error);
    let bytes = hythe_objects::read(&*logs.place.objects, &key(build)?, LARGEST).await;
    let bytes = bytes.map_err(|error| read(&error))?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let events = lines.map(serde_json::from_slice::<LoggedEvent>).collect::<Result<Vec<_>, _>>();
    let events = events.map_err(|error| read(&error))?;
    Ok(events.into_iter().filter(|event| event.position > after).collect())
}
