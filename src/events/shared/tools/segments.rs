//! Segments of a log: its oldest pieces as one immutable object.
//!
//! An object is named after its first and its last line, so that servers that make one of different pieces do not meet; the store
//! takes one of them. An object that no row names is of whoever lost, or was killed between the two, and is removed.

use super::{SharedTools, failed_read, failed_write};
use crate::{EventsError, LogLimits};
use hythe_objects::{Body, Key};
use hythe_store::{LogSegment, OpenLog};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Parts that the size of a full log has.
const COUNT: u64 = 8;
/// The smallest segment that is made for its size, bytes.
const SMALLEST: u64 = 16 << 10;
/// Pieces that are made a segment of, however small they are.
const PIECES: u64 = 512;
/// Logs that wait to become shorter.
const WAITING: usize = 1024;
/// A log that nobody writes to for so long has no pieces that are worth an object.
const RESTS: Duration = Duration::from_hours(24);
/// An object of this age that no row names is nobody's.
const GRACE: Duration = Duration::from_hours(1);

/// Bytes of a segment.
fn share(limits: &LogLimits) -> u64 {
    (limits.tool_bytes / COUNT).max(SMALLEST)
}

/// Whether a log has just become long enough for its older half to become a segment; and now and then as long as it does not.
pub(super) fn is_due(limits: &LogLimits, before: OpenLog, now: OpenLog) -> bool {
    let steps =
        |number: u64, step: u64, from: u64| number.saturating_sub(from) / step + u64::from(number >= from);
    let (bytes, pieces) = (share(limits) * 2, PIECES * 2);
    steps(now.bytes, bytes / 8, bytes) > steps(before.bytes, bytes / 8, bytes)
        || steps(now.pieces, pieces / 8, pieces) > steps(before.pieces, pieces / 8, pieces)
}

/// Takes the names of logs that have become long, and makes segments of them, one after the other.
pub(super) fn segments_to_come(tools: Arc<SharedTools>) -> mpsc::Sender<String> {
    let (due, mut logs) = mpsc::channel::<String>(WAITING);
    tokio::spawn(async move {
        while let Some(log) = logs.recv().await {
            if let Err(error) = tools.shorten(&log).await {
                tracing::error!(log, %error, "a log could not be made an object of");
                tools.trim(&log).await;
            }
        }
    });
    due
}

fn key(segment: &LogSegment) -> Result<Key, EventsError> {
    let LogSegment { log, first, last, .. } = segment;
    let name = format!("logs/{log}/{first:020}-{last:020}");
    name.parse().map_err(|error| failed_read(log, &error))
}

impl SharedTools {
    /// Makes a segment of the older half of what a log has in pieces, and more where they are many.
    async fn shorten(&self, log: &str) -> Result<(), EventsError> {
        while self.close(log).await? >= share(&self.limits) * 2 {}
        Ok(())
    }

    /// Makes segments of all that a log has in pieces.
    async fn close_all(&self, log: &str) -> Result<(), EventsError> {
        while self.close(log).await? > 0 {}
        Ok(())
    }

    /// Makes a segment of a log's oldest pieces; how many bytes are left in pieces then.
    async fn close(&self, log: &str) -> Result<u64, EventsError> {
        let failed = |error: &dyn std::fmt::Display| failed_write(log, error);
        let (text, segment, pieces, open) = self.oldest(log).await?;
        if pieces == 0 {
            return Ok(0);
        }
        let (size, share) = (segment.bytes, share(&self.limits));
        let put = self.place.objects.put(&key(&segment)?, Body::Bytes(text.into_bytes())).await;
        put.map_err(|error| failed(&error))?;
        // Beside them are the pieces, of two shares at the most.
        let keep = self.limits.tool_bytes.saturating_sub(2 * share);
        let closed = self.place.store.close_segment(segment, pieces, keep).await;
        for gone in closed.map_err(|error| failed(&error))?.unwrap_or_default() {
            self.place.objects.delete(&key(&gone)?).await.map_err(|error| failed(&error))?;
        }
        Ok(open.saturating_sub(size))
    }

    /// The lines of a log's oldest pieces, which segment they make, of how many pieces, and the bytes of all pieces.
    async fn oldest(&self, log: &str) -> Result<(String, LogSegment, u64, u64), EventsError> {
        let (mut text, mut count, mut after, mut open) = (String::new(), 0, 0, 0);
        let mut first = None;
        let is_full = |text: &String, count| text.len() as u64 >= share(&self.limits) || count >= PIECES;
        while !is_full(&text, count) {
            let read = self.place.store.log_pieces(log, after).await;
            let (state, pieces) = read.map_err(|error| failed_read(log, &error))?;
            open = state.unwrap_or_default().bytes;
            if pieces.is_empty() {
                break;
            }
            for piece in pieces {
                if is_full(&text, count) {
                    break;
                }
                first.get_or_insert(piece.first);
                after = piece.first + piece.lines.len() as u64 - 1;
                for line in &piece.lines {
                    text.push_str(line);
                    text.push('\n');
                }
                count += 1;
            }
        }
        let (first, bytes) = (first.unwrap_or_default(), text.len() as u64);
        Ok((text, LogSegment { log: log.to_owned(), first, last: after, bytes }, count, open))
    }

    /// Bounds a log of which no objects can be made.
    async fn trim(&self, log: &str) {
        match self.place.store.trim_log(log, self.limits.tool_bytes).await {
            Ok(0) => {}
            Ok(lines) => tracing::error!(log, lines, "its oldest lines were let go"),
            Err(error) => tracing::error!(log, %error, "it could not be shortened"),
        }
    }

    /// The lines of a segment; `None` where its object is gone.
    pub(super) async fn segment(&self, segment: &LogSegment) -> Result<Option<String>, EventsError> {
        let failed = |error: &dyn std::fmt::Display| failed_read(&segment.log, error);
        // One line may be beyond its share, or whoever made it had a larger one.
        let read = hythe_objects::read(&*self.place.objects, &key(segment)?, segment.bytes).await;
        match read {
            Ok(bytes) => Ok(Some(String::from_utf8(bytes).map_err(|error| failed(&error))?)),
            Err(hythe_objects::ObjectsError::Absent(_)) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    pub(super) async fn remove_objects(&self, log: &str) -> Result<(), EventsError> {
        let failed = |error: &dyn std::fmt::Display| failed_write(log, error);
        let folder: Key = format!("logs/{log}").parse().map_err(|error| failed(&error))?;
        for object in self.place.objects.list(&folder).await.map_err(|error| failed(&error))? {
            self.place.objects.delete(&object.key).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Makes objects of logs that rest, and removes objects that no row names; how many went.
    pub(crate) async fn prune(&self) -> Result<usize, EventsError> {
        let failed = |error: &dyn std::fmt::Display| failed_write("tools", error);
        let store = &self.place.store;
        for log in store.idle_logs(RESTS, SMALLEST).await.map_err(|error| failed(&error))? {
            if let Err(error) = self.close_all(&log).await {
                tracing::error!(log, %error, "a log that rests could not be made an object of");
            }
        }
        store.forget_log_writers(RESTS).await.map_err(|error| failed(&error))?;
        let folder: Key = "logs/tools".parse().map_err(|error| failed(&error))?;
        let mut old: BTreeMap<String, Vec<Key>> = BTreeMap::new();
        for object in self.place.objects.list(&folder).await.map_err(|error| failed(&error))? {
            let log = object.key.as_str().split('/').skip(1).take(2).collect::<Vec<_>>().join("/");
            if object.age > GRACE {
                old.entry(log).or_default().push(object.key);
            }
        }
        let mut removed = 0;
        for (log, keys) in old {
            let segments = store.segments(&log).await.map_err(|error| failed(&error))?;
            let named: HashSet<Key> = segments.iter().map(key).collect::<Result<_, _>>()?;
            for key in keys.iter().filter(|key| !named.contains(key)) {
                self.place.objects.delete(key).await.map_err(|error| failed(&error))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_due_when_it_gets_long_and_again_while_it_stays_so() {
        let limits = LogLimits { tool_bytes: 8 << 20, ..LogLimits::default() };
        let open = |bytes, pieces| OpenLog { bytes, pieces };
        for (before, now, due) in [
            (open(0, 0), open(100, 1), false),
            (open((2 << 20) - 1, 9), open(2 << 20, 10), true),
            (open(2 << 20, 10), open((2 << 20) + 1, 11), false),
            (open((2 << 20) + (200 << 10), 10), open((2 << 20) + (300 << 10), 11), true),
            (open(0, 1023), open(1, 1024), true),
            (open(0, 1024), open(1, 1025), false),
        ] {
            assert_eq!(is_due(&limits, before, now), due, "{before:?} {now:?}");
        }
    }
}
