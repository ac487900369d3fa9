//! One build's log: a file of numbered events.

use crate::{EventsError, LogStore, Masker};
use futures::stream::BoxStream;
use hythe_model::{BuildEvent, BuildId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// Its place, from 1, rising by one.
    #[serde(rename = "n")]
    pub position: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The event.
    pub event: BuildEvent,
}

impl LogStore {
    /// Masks these values in everything that is appended to this build's log from now on.
    pub fn mask_build(&self, build: BuildId, masker: Masker) {
        let _ = masker;
        todo!("{build}")
    }

    /// Appends an event, and answers its position. Quick (a write to the page cache) and so fit for async code; the
    /// file reaches the disk within a second, and with its last event at once. What follows an end is ignored.
    pub fn append(&self, build: BuildId, event: &BuildEvent) -> Result<u64, EventsError> {
        todo!("{build} {event:?}")
    }

    /// Waits until everything appended to this build's log is on the disk.
    pub async fn sync_build(&self, build: BuildId) -> Result<(), EventsError> {
        todo!("{build}")
    }

    /// The events from this position on (0 and 1 are the start): the stored ones, then live ones until the end event.
    pub fn tail(&self, build: BuildId, from: u64) -> BoxStream<'static, Result<LoggedEvent, EventsError>> {
        todo!("{build} {from}")
    }

    /// The stored events from this position on, without waiting for more.
    pub async fn build_events(&self, build: BuildId, from: u64) -> Result<Vec<LoggedEvent>, EventsError> {
        todo!("{build} {from}")
    }

    /// Removes a build's log.
    pub async fn remove_build(&self, build: BuildId) -> Result<(), EventsError> {
        todo!("{build}")
    }
}
