//! Readers of build logs: the stored events first, then the live ones, from the same file.

use crate::build_log::{BuildLog, LoggedEvent, Published};
use crate::{EventsError, LogStore, blocking};
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};
use hythe_model::BuildId;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Bytes read at a time.
const CHUNK: u64 = 256 << 10;

/// Reads a growing file of lines, up to where it is published.
pub(crate) struct Lines {
    path: PathBuf,
    file: Arc<File>,
    offset: u64,
    rest: Vec<u8>,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, EventsError> {
        let file = File::open(path).map_err(|error| EventsError::read(path, &error))?;
        Ok(Self { path: path.to_owned(), file: Arc::new(file), offset: 0, rest: Vec::new() })
    }

    /// Length of the file as it is now, for one that does not grow any more.
    pub(crate) fn length(&self) -> Result<u64, EventsError> {
        self.file.metadata().map(|data| data.len()).map_err(|error| EventsError::read(&self.path, &error))
    }

    /// The next whole lines before `end`, parsed; empty only where `end` is reached.
    pub(crate) async fn next<T: Send + 'static>(
        &mut self,
        end: u64,
        parse: fn(&[u8]) -> Result<T, serde_json::Error>,
    ) -> Result<Vec<T>, EventsError> {
        let mut lines = Vec::new();
        while lines.is_empty() && self.offset < end {
            let (file, path, offset) = (Arc::clone(&self.file), self.path.clone(), self.offset);
            let mut bytes = std::mem::take(&mut self.rest);
            let length = usize::try_from((end - offset).min(CHUNK)).unwrap_or_default();
            let read = blocking(&self.path, move || {
                let start = bytes.len();
                bytes.resize(start + length, 0);
                let filled = file.read_exact_at(&mut bytes[start..], offset);
                filled.map_err(|error| EventsError::read(&path, &error))?;
                let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let rest = bytes.split_off(whole);
                let lines: Result<Vec<T>, _> =
                    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect();
                Ok((lines.map_err(|error| EventsError::read(&path, &error))?, rest))
            });
            (lines, self.rest) = read.await?;
            self.offset += length as u64;
        }
        Ok(lines)
    }
}

struct Tail {
    store: LogStore,
    build: BuildId,
    from: u64,
    open: Option<(Arc<BuildLog>, watch::Receiver<Published>, Lines)>,
    ready: VecDeque<LoggedEvent>,
}

impl Tail {
    async fn open(&mut self) -> Result<(), EventsError> {
        let (store, build) = (self.store.clone(), self.build);
        let log = blocking(&store.inner.dir.clone(), move || store.build_log(build)).await?;
        let lines = Lines::open(&log.path)?;
        let published = log.published.subscribe();
        self.open = Some((log, published, lines));
        Ok(())
    }

    /// The next event; `None` after the end, or where nothing more is stored and none is waited for.
    async fn next(&mut self, wait: bool) -> Result<Option<LoggedEvent>, EventsError> {
        if self.open.is_none() {
            self.open().await?;
        }
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some((_, published, lines)) = &mut self.open else { return Ok(None) };
            let mark = *published.borrow_and_update();
            let events = lines.next(mark.bytes, |line| serde_json::from_slice::<LoggedEvent>(line)).await?;
            let reached = events.is_empty();
            self.ready.extend(events.into_iter().filter(|event| event.position >= self.from));
            if reached && (mark.ended || !wait || published.changed().await.is_err()) {
                return Ok(None);
            }
        }
    }
}

impl LogStore {
    /// The events from this position on (0 and 1 are the start): the stored ones, then live ones until the end event.
    pub fn tail(&self, build: BuildId, from: u64) -> BoxStream<'static, Result<LoggedEvent, EventsError>> {
        self.read_build(build, from, true)
    }

    /// The stored events from this position on, without waiting for more.
    pub async fn build_events(&self, build: BuildId, from: u64) -> Result<Vec<LoggedEvent>, EventsError> {
        self.read_build(build, from, false).try_collect().await
    }

    fn read_build(
        &self,
        build: BuildId,
        from: u64,
        wait: bool,
    ) -> BoxStream<'static, Result<LoggedEvent, EventsError>> {
        if let Some(shared) = &self.inner.shared {
            return shared.read(build, from, wait);
        }
        let tail = Tail { store: self.clone(), build, from, open: None, ready: VecDeque::new() };
        let next = move |mut tail: Tail| async move { Ok(tail.next(wait).await?.map(|event| (event, tail))) };
        stream::try_unfold(tail, next).boxed()
    }
}
