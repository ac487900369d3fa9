//! Logs that several servers write and read: those of tools (`tools`), and those of builds: rows while they grow, an object each once
//! they have ended.
//!
//! A build's events wait here for a moment and go to the store in batches, where they get their numbers; readers everywhere follow the
//! store, that of the writer too, so that nobody sees what is not kept. What waits is bounded by the size of a log.

mod followed;
mod reader;
mod tools;
mod writer;

use crate::gather::Gathered;
use crate::masks::Masks;
use crate::{EventsError, LogLimits, LoggedEvent, Masker};
use followed::Followed;
use futures::stream::BoxStream;
use hythe_model::{BuildEvent, BuildId};
use hythe_objects::{Body, Key, Objects};
use hythe_store::{LogState, Store};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tools::SharedTools;
use writer::Writer;

/// What the names of build logs begin with, in the store and among the objects.
const BUILDS: &str = "builds/";
/// The largest log that is read, bytes: the reserve of notes is beyond its limit.
const LARGEST: u64 = 64 << 20;

/// Where several servers keep logs.
#[derive(Clone)]
pub struct SharedPlace {
    /// Rows of logs that grow.
    pub store: Store,
    /// Logs that have ended.
    pub objects: Arc<dyn Objects>,
}

/// The logs of all servers.
pub(crate) struct SharedLogs {
    /// Those of tools; all else here is about builds.
    pub(crate) tools: Arc<SharedTools>,
    place: SharedPlace,
    limits: LogLimits,
    followed: Arc<Followed>,
    /// Where writers work: events come from threads that know no runtime, too.
    runtime: Handle,
    writers: Mutex<HashMap<BuildId, Arc<Writer>>>,
}

/// The name of a build's log.
fn name(build: BuildId) -> String {
    format!("{BUILDS}{build}")
}

fn key(build: BuildId) -> Result<Key, EventsError> {
    format!("logs/{}", name(build)).parse().map_err(|error| failed_read(build, &error))
}

fn failed_read(build: BuildId, error: &dyn std::fmt::Display) -> EventsError {
    EventsError::read(&PathBuf::from(name(build)), &error.to_string())
}

fn failed_write(build: BuildId, error: &dyn std::fmt::Display) -> EventsError {
    EventsError::write(&PathBuf::from(name(build)), &error.to_string())
}

impl SharedLogs {
    pub(crate) fn new(
        place: SharedPlace,
        limits: LogLimits,
        gathered: Arc<Gathered>,
        masks: Arc<Masks>,
    ) -> Arc<Self> {
        let followed = Followed::new(place.store.clone());
        let tools = SharedTools::start(place.clone(), limits.clone(), gathered, masks, followed.clone());
        Arc::new(Self {
            tools,
            place,
            limits,
            followed,
            runtime: Handle::current(),
            writers: Mutex::default(),
        })
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<BuildId, Arc<Writer>>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer of a build's log, which works until the log has ended.
    fn writer(self: &Arc<Self>, build: BuildId) -> Arc<Writer> {
        let mut all = self.writers();
        if let Some(writer) = all.get(&build) {
            return writer.clone();
        }
        let writer = Arc::new(Writer::new(build));
        all.insert(build, writer.clone());
        let (logs, own) = (self.clone(), writer.clone());
        self.runtime.spawn(async move {
            own.work(&logs).await;
            let mut all = logs.writers();
            if all.get(&build).is_some_and(|other| Arc::ptr_eq(other, &own)) {
                all.remove(&build);
            }
        });
        writer
    }

    /// Has the writer of a build's log do something; another one where it has just gone home.
    fn with_writer(self: &Arc<Self>, build: BuildId, does: impl Fn(&Writer) -> bool) {
        while !does(&self.writer(build)) {
            std::thread::yield_now();
        }
    }

    pub(crate) fn mask(self: &Arc<Self>, build: BuildId, masker: &Masker) {
        self.with_writer(build, |writer| writer.mask(masker));
    }

    /// From now on what is written is about the run of the build by this server, and refused once another one runs it.
    pub(crate) fn own(self: &Arc<Self>, build: BuildId) {
        self.with_writer(build, Writer::own);
    }

    pub(crate) fn append(self: &Arc<Self>, build: BuildId, event: &BuildEvent) {
        self.with_writer(build, |writer| writer.push(event, &self.limits));
    }

    /// Waits until everything appended to this log is kept, or cannot be.
    pub(crate) async fn settled(&self, build: BuildId) {
        let writer = self.writers().get(&build).cloned();
        if let Some(writer) = writer {
            writer.settled().await;
        }
    }

    /// The same of all logs.
    pub(crate) async fn all_settled(&self) {
        let writers: Vec<_> = self.writers().values().cloned().collect();
        for writer in writers {
            writer.settled().await;
        }
    }

    pub(crate) async fn state(&self, build: BuildId) -> Result<LogState, EventsError> {
        let state = self.place.store.log_state(&name(build)).await;
        Ok(state.map_err(|error| failed_read(build, &error))?.unwrap_or_default())
    }

    pub(crate) fn read(
        self: &Arc<Self>,
        build: BuildId,
        from: u64,
        wait: bool,
    ) -> BoxStream<'static, Result<LoggedEvent, EventsError>> {
        reader::read(self.clone(), build, from, wait)
    }

    /// Waits a while for the first event of a log.
    pub(crate) async fn begun(&self, build: BuildId, patience: Duration) {
        let mut followed = self.followed.follow(&name(build));
        let work = async {
            while self.state(build).await.is_ok_and(|state| state.last == 0) {
                let _ = followed.changed().await;
            }
        };
        let _ = tokio::time::timeout(patience, work).await;
    }

    /// Makes an object of a log that has ended.
    pub(crate) async fn close(&self, build: BuildId) -> Result<(), EventsError> {
        let mut text = Vec::new();
        let mut after = 0;
        loop {
            let (events, _) = reader::stored(self, build, after).await?;
            let Some(last) = events.last() else { break };
            after = last.position;
            for event in &events {
                serde_json::to_writer(&mut text, event).map_err(|error| failed_write(build, &error))?;
                text.push(b'\n');
            }
        }
        let put = self.place.objects.put(&key(build)?, Body::Bytes(text)).await;
        put.map_err(|error| failed_write(build, &error))?;
        self.place.store.close_log(&name(build)).await.map_err(|error| failed_write(build, &error))
    }

    /// Drops what waits to be written.
    pub(crate) fn leave(&self, build: BuildId) {
        if let Some(writer) = self.writers().remove(&build) {
            writer.leave();
        }
    }

    pub(crate) async fn remove(&self, build: BuildId) -> Result<(), EventsError> {
        self.leave(build);
        self.place.store.remove_log(&name(build)).await.map_err(|error| failed_write(build, &error))?;
        let removed = self.place.objects.delete(&key(build)?).await;
        removed.map(drop).map_err(|error| failed_write(build, &error))
    }

    /// Removes the logs of builds but for those that stay, and makes objects of those that have ended and are none yet; how
    /// many went.
    pub(crate) async fn prune(&self, stays: impl Fn(BuildId) -> bool) -> Result<usize, EventsError> {
        let read = |error: &dyn std::fmt::Display| failed_read(BuildId(0), error);
        let mut removed = 0;
        for (name, state) in self.place.store.logs(BUILDS).await.map_err(|error| read(&error))? {
            let number = name.strip_prefix(BUILDS).and_then(|number| number.parse().ok());
            let Some(build) = number.map(BuildId) else { continue };
            if !stays(build) {
                self.remove(build).await?;
                removed += 1;
            } else if state.ended && !state.closed {
                self.close(build).await?;
            }
        }
        Ok(removed)
    }
}
