//! One log's writer: a queue of events, and the task that carries them to the store.

use super::{SharedLogs, name};
use crate::build_log::{RESERVE, bounded, full_note};
use crate::clean::clean;
use crate::mask::change;
use crate::{LogLimits, Masker};
use hythe_model::{BuildEvent, BuildId};
use hythe_store::{LogState, StoreError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Events that come in this time travel together.
const BATCH: Duration = Duration::from_millis(40);
/// Bytes of a batch, about.
const BATCH_BYTES: usize = 256 << 10;
/// How long a writer waits for what another server's build may still be told.
const IDLE: Duration = Duration::from_secs(30);
/// Between two attempts to reach a store that is away.
const AGAIN: Duration = Duration::from_secs(1);

/// An event as a line of a log has it; its number is its place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) event: BuildEvent,
}

/// The writer of one build's log.
pub(super) struct Writer {
    build: BuildId,
    state: Mutex<State>,
    came: Notify,
    went: Notify,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct State {
    masker: Masker,
    /// Whether what is written is about this server's run of the build.
    own: bool,
    waiting: VecDeque<String>,
    /// Bytes of lines that were taken here, sent ones too.
    bytes: u64,
    full: bool,
    ended: bool,
    /// Lines that the task is sending.
    sending: bool,
    /// Nothing is sent any more: the build is another's, or the log is removed.
    left: bool,
    /// The task has ended, and another writer takes what comes.
    gone: bool,
}

impl Writer {
    pub(super) fn new(build: BuildId) -> Self {
        Self { build, state: Mutex::default(), came: Notify::new(), went: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does this, unless the writer has gone home.
    fn unless_gone(&self, does: impl FnOnce(&mut State)) -> bool {
        let mut state = self.state();
        if !state.gone {
            does(&mut state);
        }
        !state.gone
    }

    pub(super) fn mask(&self, masker: &Masker) -> bool {
        self.unless_gone(|state| state.masker = masker.clone())
    }

    pub(super) fn own(&self) -> bool {
        self.unless_gone(|state| state.own = true)
    }

    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.left = true;
        state.waiting.clear();
        drop(state);
        self.came.notify_one();
        self.went.notify_waiters();
    }

    /// Takes an event; what is beyond the log's size is left out, and the log says so.
    pub(super) fn push(&self, event: &BuildEvent, limits: &LogLimits) -> bool {
        let taken = self.unless_gone(|state| {
            if state.ended || state.left {
                return;
            }
            let shown = state.masker.mask_event(change(event.clone(), |text| clean(text).into_owned()));
            for piece in bounded(shown, limits.line_bytes) {
                state.take(&piece, limits.build_bytes);
            }
            state.ended |= event.is_end();
        });
        self.came.notify_one();
        taken
    }

    /// Goes home where nothing waits and somebody else runs the build: what comes later has another writer.
    fn goes_home(&self) -> bool {
        let mut state = self.state();
        state.gone = state.waiting.is_empty() && !state.own;
        state.gone
    }

    /// Waits until nothing waits.
    pub(super) async fn settled(&self) {
        loop {
            let went = self.went.notified();
            {
                let state = self.state();
                if state.left || (state.waiting.is_empty() && !state.sending) {
                    return;
                }
            }
            went.await;
        }
    }

    /// Carries events to the store until the log has ended, then makes an object of it.
    pub(super) async fn work(&self, logs: &SharedLogs) {
        loop {
            if tokio::time::timeout(IDLE, self.came.notified()).await.is_err() {
                if self.goes_home() {
                    return;
                }
                continue;
            }
            tokio::time::sleep(BATCH).await;
            while let Some((lines, ends, own)) = self.next() {
                let sent = self.send(logs, lines, ends, own).await;
                self.state().sending = false;
                self.went.notify_waiters();
                match sent {
                    Some(state) if state.ended => return self.close(logs).await,
                    Some(_) => {}
                    None => return self.leave(),
                }
            }
            if self.state().left {
                return;
            }
        }
    }

    /// The next batch; whether it ends the log, and whether it is about this server's run.
    fn next(&self) -> Option<(Vec<String>, bool, bool)> {
        let mut state = self.state();
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES
            && let Some(line) = state.waiting.pop_front()
        {
            bytes += line.len();
            lines.push(line);
        }
        if lines.is_empty() {
            return None;
        }
        state.sending = true;
        Some((lines, state.ended && state.waiting.is_empty(), state.own))
    }

    /// Sends a batch for as long as it takes. `None` where it is not wanted: the build is another server's now.
    async fn send(&self, logs: &SharedLogs, lines: Vec<String>, ends: bool, own: bool) -> Option<LogState> {
        let store = &logs.place.store;
        let (name, mut before) = (name(self.build), None);
        loop {
            let appended = store.append_log(&name, lines.clone(), ends, own.then_some(self.build)).await;
            match appended {
                Ok(state) => return Some(state),
                Err(StoreError::Conflict { what }) => {
                    tracing::warn!(build = %self.build, what, "its log is another's to write");
                    return None;
                }
                Err(_) if self.state().left => return None,
                Err(error) => {
                    tracing::warn!(build = %self.build, %error, "its log waits for the database");
                    // The answer may have been lost with the lines kept: then they are not sent twice.
                    let now = store.log_state(&name).await.ok().flatten().unwrap_or_default();
                    let kept = matches!(error, StoreError::Unclear { .. })
                        && before.is_some_and(|before: u64| now.last > before);
                    if kept {
                        return Some(now);
                    }
                    before = Some(now.last);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn close(&self, logs: &SharedLogs) {
        if let Err(error) = logs.close(self.build).await {
            tracing::warn!(build = %self.build, %error, "its log stays in the database until the next upkeep");
        }
    }
}

impl State {
    fn take(&mut self, event: &BuildEvent, cap: u64) {
        let room = if matches!(event, BuildEvent::Output { .. }) { cap } else { cap + RESERVE };
        if !event.is_end() && self.full && room == cap {
            return;
        }
        let Some(text) = line(event) else { return };
        if event.is_end() || self.bytes + text.len() as u64 <= room {
            self.put(text);
        } else if !std::mem::replace(&mut self.full, true)
            && let Some(note) = line(&full_note(event, cap))
        {
            self.put(note);
        }
    }

    fn put(&mut self, line: String) {
        self.bytes += line.len() as u64 + 1;
        self.waiting.push_back(line);
    }
}

fn line(event: &BuildEvent) -> Option<String> {
    let line = serde_json::to_string(&Line { at: Timestamp::now(), event: event.clone() });
    line.inspect_err(|error| tracing::error!(%error, "an event cannot be written")).ok()
}
