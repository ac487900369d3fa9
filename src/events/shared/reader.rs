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
        let (build, after) = (self.build, self.after);
        let followed = self.followed.get_or_insert_with(|| self.logs.followed.follow(&name(build)));
        // One that is not there was removed, or has not begun.
        let is_further = |reach: &Reach| match reach {
            Some(reach) => reach.ended || reach.last > after,
            None => after > 0,
        };
        let _ = tokio::time::timeout(LOOK, followed.wait_for(is_further)).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogLimits, LogStore, SharedPlace};
    use hythe_model::{BuildEvent, Fault};
    use hythe_objects::SharedFolder;
    use hythe_store::Store;
    use std::time::Instant;

    #[tokio::test]
    async fn what_another_reader_has_been_told_of_already_is_not_waited_for() {
        const BUILD: BuildId = BuildId(212);
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("objects")).unwrap();
        let store = Store::open(&folder.path().join("rows.db")).await.unwrap();
        let objects = Arc::new(SharedFolder::open(folder.path().join("objects")).unwrap());
        let place = SharedPlace { store, objects };
        let store = LogStore::open_shared(folder.path().join("own"), LogLimits::default(), place).unwrap();
        let logs = store.inner.shared.clone().unwrap();
        let mut other = logs.followed.follow(&name(BUILD));
        let end = BuildEvent::Failed { fault: Fault::new("build/failed", "It failed.") };
        store.append(BUILD, &end).unwrap();
        other.wait_for(|reach| reach.is_some_and(|reach| reach.ended)).await.unwrap();
        // One that has looked just before.
        let mut reader = Reader { logs, build: BUILD, after: 0, ready: VecDeque::new(), followed: None };
        let begun = Instant::now();
        reader.wait().await;
        assert!(begun.elapsed() < LOOK / 2, "it waited for {:?}", begun.elapsed());
    }
}
