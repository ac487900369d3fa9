//! One build's log: a file of numbered events.

use crate::clean::{clean, pieces};
use crate::journal::{Journal, Syncer};
use crate::mask::change;
use crate::{EventsError, LogStore, Masker, blocking};
use hythe_model::{BuildEvent, BuildId, Phase};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What notes and ends may add to a log that is full of output.
pub(crate) const RESERVE: u64 = 1 << 20;

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

/// What of a file readers may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Published {
    pub(crate) bytes: u64,
    pub(crate) ended: bool,
}

/// An open build log.
pub(crate) struct BuildLog {
    pub(crate) path: PathBuf,
    state: Mutex<State>,
    pub(crate) published: watch::Sender<Published>,
}

struct State {
    journal: Journal,
    last: u64,
    ended: bool,
    full: bool,
    masker: Masker,
}

impl BuildLog {
    fn open(path: &Path, syncer: &Arc<Syncer>, cap: u64) -> Result<Self, EventsError> {
        let journal = Journal::open(path, syncer)?;
        let bytes = journal.read()?;
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = text.rsplit(|byte| *byte == b'\n').next().filter(|line| !line.is_empty());
        let last: Option<LoggedEvent> = match line {
            Some(line) => {
                Some(serde_json::from_slice(line).map_err(|error| EventsError::read(path, &error))?)
            }
            None => None,
        };
        let ended = last.as_ref().is_some_and(|last| last.event.is_end());
        let published = Published { bytes: journal.len(), ended };
        let state = State {
            full: journal.len() >= cap,
            journal,
            last: last.map_or(0, |last| last.position),
            ended,
            masker: Masker::default(),
        };
        let published = watch::Sender::new(published);
        Ok(Self { path: path.to_owned(), state: Mutex::new(state), published })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, event: &BuildEvent, cap: u64, line_bytes: usize) -> Result<Published, EventsError> {
        let mut state = self.state();
        let shown = state.masker.mask_event(change(event.clone(), |text| clean(text).into_owned()));
        let mut pieces = bounded(shown, line_bytes).into_iter();
        let written = pieces.try_for_each(|piece| state.write(&self.path, &piece, cap));
        // An end that cannot be written is an end: nobody may wait for it.
        state.ended |= event.is_end();
        let published = Published { bytes: state.journal.len(), ended: state.ended };
        self.published.send_replace(published);
        written.map(|()| published)
    }
}

impl State {
    /// Writes an event unless the log has ended or is full.
    fn write(&mut self, path: &Path, event: &BuildEvent, cap: u64) -> Result<(), EventsError> {
        let room = if matches!(event, BuildEvent::Output { .. }) { cap } else { cap + RESERVE };
        if self.ended || (!event.is_end() && self.full && room == cap) {
            return Ok(());
        }
        let line = self.line(path, event)?;
        if event.is_end() || self.journal.len() + line.len() as u64 <= room {
            self.journal.append(&line)?;
            self.last += 1;
            self.ended = event.is_end();
            return Ok(());
        }
        if !std::mem::replace(&mut self.full, true) {
            let line = self.line(path, &full_note(event, cap))?;
            self.journal.append(&line)?;
            self.last += 1;
        }
        Ok(())
    }

    fn line(&self, path: &Path, event: &BuildEvent) -> Result<Vec<u8>, EventsError> {
        let logged = LoggedEvent { position: self.last + 1, at: Timestamp::now(), event: event.clone() };
        let mut line = serde_json::to_vec(&logged).map_err(|error| EventsError::write(path, &error))?;
        line.push(b'\n');
        Ok(line)
    }
}

/// What a log says in the place of an event that has no room in it any more.
pub(crate) fn full_note(event: &BuildEvent, cap: u64) -> BuildEvent {
    let size = hythe_model::render::size(cap);
    let text = format!("the log is full at {size}: what is printed from here on is left out");
    BuildEvent::Note { phase: phase(event), text, millis: None }
}

fn phase(event: &BuildEvent) -> Phase {
    match event {
        BuildEvent::Note { phase, .. } | BuildEvent::Output { phase, .. } => *phase,
        BuildEvent::Live { .. } | BuildEvent::Failed { .. } => Phase::Build,
    }
}

/// An event whose line is too long as several.
pub(crate) fn bounded(event: BuildEvent, line_bytes: usize) -> Vec<BuildEvent> {
    match event {
        BuildEvent::Output { phase, line } if line.len() > line_bytes => {
            let piece = |piece: &str| BuildEvent::Output { phase, line: piece.to_owned() };
            pieces(&line, line_bytes).into_iter().map(piece).collect()
        }
        other => vec![other],
    }
}

impl LogStore {
    /// Masks these values in everything that is appended to this build's log from now on.
    pub fn mask_build(&self, build: BuildId, masker: Masker) {
        if let Some(shared) = &self.inner.shared {
            return shared.mask(build, &masker);
        }
        match self.build_log(build) {
            Ok(log) => log.state().masker = masker,
            Err(error) => tracing::error!(%build, %error, "a build's log could not be opened"),
        }
    }

    /// Says that what is appended from now on is about this server's run of the build: should another one take it over, nothing of
    /// it is kept any more. Where logs are not shared there is no other.
    pub fn own_build(&self, build: BuildId) {
        if let Some(shared) = &self.inner.shared {
            shared.own(build);
        }
    }

    /// Says that another server runs the build now: nothing that waits here is kept any more.
    pub fn leave_build(&self, build: BuildId) {
        if let Some(shared) = &self.inner.shared {
            shared.leave(build);
        }
    }

    /// Waits a while for the first event of a log that another server may be about to write.
    pub async fn begun(&self, build: BuildId, patience: Duration) {
        if let Some(shared) = &self.inner.shared {
            shared.begun(build, patience).await;
        }
    }

    /// Waits until everything appended so far is where it outlives this server.
    pub async fn settled(&self) {
        self.inner.gathered.settled().await;
        if let Some(shared) = &self.inner.shared {
            shared.all_settled().await;
        }
    }

    /// Appends an event, and answers its position, or 0 where a shared log gives it later. Quick (a write to the page cache) and so fit for async code; the
    /// file reaches the disk within a second, and with its last event at once. What follows an end is ignored. Readers
    /// come to their end with it, even where it cannot be written.
    pub fn append(&self, build: BuildId, event: &BuildEvent) -> Result<u64, EventsError> {
        if let Some(shared) = &self.inner.shared {
            shared.append(build, event);
            return Ok(0);
        }
        let log = self.build_log(build)?;
        let limits = &self.inner.limits;
        let published = log.append(event, limits.build_bytes, limits.line_bytes)?;
        if published.ended {
            self.inner.syncer.hurry();
            self.builds().remove(&build);
        }
        Ok(log.state().last)
    }

    /// Waits until everything appended to this build's log is on the disk.
    pub async fn sync_build(&self, build: BuildId) -> Result<(), EventsError> {
        if let Some(shared) = &self.inner.shared {
            shared.settled(build).await;
            return Ok(());
        }
        let log = self.build_log(build)?;
        let path = log.path.clone();
        let on_disk = log.state().journal.on_disk();
        blocking(&path.clone(), move || on_disk.sync().map_err(|error| EventsError::write(&path, &error)))
            .await
    }

    /// Whether a build's log has its last event.
    pub async fn has_ended(&self, build: BuildId) -> Result<bool, EventsError> {
        if let Some(shared) = &self.inner.shared {
            return Ok(shared.state(build).await?.ended);
        }
        let logs = self.clone();
        let path = self.inner.dir.clone();
        blocking(&path, move || Ok(logs.build_log(build)?.state().ended)).await
    }

    /// Removes a build's log; its readers come to an end.
    pub async fn remove_build(&self, build: BuildId) -> Result<(), EventsError> {
        if let Some(shared) = &self.inner.shared {
            return shared.remove(build).await;
        }
        let log = self.build_log(build)?;
        self.builds().remove(&build);
        log.state().ended = true;
        log.published.send_modify(|published| published.ended = true);
        let path = log.path.clone();
        blocking(&log.path, move || match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(EventsError::write(&path, &error))
            }
            _ => Ok(()),
        })
        .await
    }

    /// Removes the logs of builds but for those that stay; how many went.
    pub async fn prune_builds(
        &self,
        stays: impl Fn(BuildId) -> bool + Send + 'static,
    ) -> Result<usize, EventsError> {
        if let Some(shared) = &self.inner.shared {
            return shared.prune(stays).await;
        }
        let folder = self.inner.dir.join("builds");
        let read = |error: std::io::Error, folder: &std::path::Path| EventsError::read(folder, &error);
        let stale = blocking(&folder.clone(), move || {
            let mut stale = Vec::new();
            for entry in std::fs::read_dir(&folder).map_err(|error| read(error, &folder))? {
                let name = entry.map_err(|error| read(error, &folder))?.file_name();
                let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
                stale.extend(number.map(BuildId).filter(|build| !stays(*build)));
            }
            Ok(stale)
        })
        .await?;
        for build in &stale {
            self.remove_build(*build).await?;
        }
        Ok(stale.len())
    }

    /// The open log of a build. One that has ended is opened for its reader alone and not remembered.
    pub(crate) fn build_log(&self, build: BuildId) -> Result<Arc<BuildLog>, EventsError> {
        let mut builds = self.builds();
        if let Some(log) = builds.get(&build) {
            return Ok(Arc::clone(log));
        }
        let path = self.inner.dir.join("builds").join(format!("{build}.log"));
        let log = Arc::new(BuildLog::open(&path, &self.inner.syncer, self.inner.limits.build_bytes)?);
        if !log.state().ended {
            builds.insert(build, Arc::clone(&log));
        }
        Ok(log)
    }

    fn builds(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<BuildId, Arc<BuildLog>>> {
        self.inner.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogLimits;
    use futures::StreamExt;
    use hythe_model::Fault;

    #[tokio::test]
    async fn nobody_waits_for_an_end_that_cannot_be_written() {
        const BUILD: BuildId = BuildId(212);
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::open(dir.path(), LogLimits::default()).unwrap();
        let note = BuildEvent::Note { phase: Phase::Build, text: "one".to_owned(), millis: None };
        store.append(BUILD, &note).unwrap();
        let mut early = store.tail(BUILD, 0);
        assert_eq!(early.next().await.unwrap().unwrap().event, note);
        let log = store.build_log(BUILD).unwrap();
        log.state().journal = Journal::full(&store.inner.syncer);
        let end = BuildEvent::Failed { fault: Fault::new("build/failed", "It failed.") };
        assert!(store.append(BUILD, &end).is_err());
        for mut reader in [early, store.tail(BUILD, 0)] {
            let ended = tokio::time::timeout(Duration::from_secs(5), reader.next()).await;
            assert!(ended.expect("it comes to its end").is_none());
        }
    }
}
