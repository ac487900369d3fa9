//! Lines on their way into tools' logs: gathered for a moment, then written together, by a task of their own.
//!
//! Whoever brings a line of the platform or of the router never waits: what comes faster than it can be written is left out, and
//! the log says how much. Whoever reads a source waits where too much of it is on its way, and its source keeps the rest. What waits
//! is bounded, of each tool and of all.

use crate::masks::{ASKING, Printing};
use crate::runtime_log::SourceAt;
use crate::{EndedInstance, EventsError, Inner, LineSource, LogStore, Masker, NewLine, blocking};
use futures::{StreamExt, stream};
use hythe_model::{ReleaseNumber, ToolName};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// How long lines gather that are written to files.
const MOMENT: Duration = Duration::from_millis(50);
/// Lines of one tool that may wait and come from no source.
const MOST: usize = 4096;
/// Bytes of one tool's sources that may wait, but for a single line that is longer.
const OF_TOOL: usize = 256 << 10;
/// Bytes of all tools that may wait; half of them from sources.
const OF_ALL: usize = 8 << 20;
/// What a line costs beside its text, bytes.
const BESIDE: usize = 96;

/// A source of lines that somebody reads: the same for the reader and for who writes its lines.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) instance: String,
    /// Whose config its lines may hold.
    release: ReleaseNumber,
    /// What its reader brings is not written any more: another one has read on, or the tool is gone.
    refused: AtomicBool,
}

impl Source {
    pub(crate) fn new(instance: &str, release: ReleaseNumber) -> Arc<Self> {
        Arc::new(Self { instance: instance.to_owned(), release, refused: AtomicBool::new(false) })
    }

    pub(crate) fn refuse(&self) {
        self.refused.store(true, Ordering::Release);
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }
}

/// How far a source was read before some lines, and after them.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) source: Arc<Source>,
    pub(crate) from: SourceAt,
    pub(crate) to: SourceAt,
    /// What is kept of it where it has ended.
    pub(crate) ended: Option<EndedInstance>,
}

/// Lines that are written together.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) lines: Vec<NewLine>,
    /// Their source; none for those of the platform and the router.
    pub(crate) read: Option<Read>,
}

impl Part {
    fn bytes(&self) -> usize {
        self.lines.iter().map(bytes).sum()
    }

    /// Takes the next lines in where they go on with the same source; else they are given back.
    fn join(&mut self, next: Self) -> Option<Self> {
        match (&mut self.read, &next.read) {
            (Some(read), Some(more)) if Arc::ptr_eq(&read.source, &more.source) && more.ended.is_none() => {
                read.to = more.to;
            }
            (None, None) => {}
            _ => return Some(next),
        }
        self.lines.extend(next.lines);
        None
    }
}

fn bytes(line: &NewLine) -> usize {
    line.text.len() + line.instance.len() + BESIDE
}

/// The lines that wait to be written.
pub(crate) struct Gathered {
    queue: Mutex<Queue>,
    /// Wakes the task that writes.
    came: Notify,
    /// There is room again.
    went: Notify,
    /// The last batch that was written.
    done: watch::Sender<u64>,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            queue: Mutex::new(Queue { number: 1, ..Queue::default() }),
            came: Notify::new(),
            went: Notify::new(),
            done: watch::Sender::new(0),
        }
    }
}

#[derive(Default)]
struct Queue {
    tools: HashMap<ToolName, Crowd>,
    bytes: usize,
    /// The number of the batch that gathers.
    number: u64,
    /// Set where a crowd is half of what may wait, or somebody waits for it.
    hurry: bool,
    closing: bool,
}

/// What waits of one tool.
#[derive(Default)]
pub(crate) struct Crowd {
    parts: Vec<Part>,
    /// Bytes of sources.
    bytes: usize,
    /// Lines of no source.
    lines: usize,
    left_out: u64,
}

impl Crowd {
    fn put(&mut self, part: Part) {
        let part = match self.parts.last_mut() {
            Some(last) => last.join(part),
            None => Some(part),
        };
        self.parts.extend(part);
    }

    /// The releases of its sources.
    pub(crate) fn printing(&self) -> Printing {
        self.parts.iter().filter_map(|part| Some(part.read.as_ref()?.source.release)).collect()
    }

    /// The lines, and a last one that says how many are missing.
    pub(crate) fn into_parts(mut self) -> Vec<Part> {
        if self.left_out > 0 {
            let text =
                format!("{} lines are left out here: they came faster than they are written", self.left_out);
            let line = NewLine {
                at: Timestamp::now(),
                instance: "platform".to_owned(),
                source: LineSource::Platform,
                text,
            };
            self.put(Part { lines: vec![line], read: None });
        }
        self.parts
    }
}

/// What was gathered in a moment.
pub(crate) struct Batch {
    pub(crate) tools: HashMap<ToolName, Crowd>,
    number: u64,
}

impl Gathered {
    /// Takes a line, or counts it where too many wait.
    pub(crate) fn push(&self, tool: &ToolName, line: NewLine) {
        let mut queue = self.queue();
        let begins = queue.tools.is_empty();
        let size = bytes(&line);
        let is_room = queue.bytes + size <= OF_ALL;
        let crowd = crowd(&mut queue, tool);
        let is_taken = is_room && crowd.lines < MOST;
        if is_taken {
            crowd.lines += 1;
            crowd.put(Part { lines: vec![line], read: None });
        } else {
            crowd.left_out += 1;
        }
        let hurry = is_taken && crowd.lines == MOST / 2;
        queue.bytes += if is_taken { size } else { 0 };
        queue.hurry |= hurry;
        drop(queue);
        if begins || hurry {
            self.came.notify_one();
        }
    }

    /// Takes lines of a source as soon as there is room for them.
    pub(crate) async fn offer(&self, tool: &ToolName, part: Part) {
        let mut part = Some(part);
        loop {
            let went = self.went.notified();
            self.take_in(tool, &mut part);
            if part.is_none() {
                return;
            }
            went.await;
        }
    }

    fn take_in(&self, tool: &ToolName, part: &mut Option<Part>) {
        let size = part.as_ref().map_or(0, Part::bytes);
        let mut queue = self.queue();
        let begins = queue.tools.is_empty();
        let fits = queue.bytes == 0 || queue.bytes + size <= OF_ALL / 2;
        let crowd = crowd(&mut queue, tool);
        if !fits || (crowd.bytes > 0 && crowd.bytes + size > OF_TOOL) {
            return;
        }
        crowd.bytes += size;
        if let Some(part) = part.take() {
            crowd.put(part);
        }
        queue.bytes += size;
        drop(queue);
        if begins {
            self.came.notify_one();
        }
    }

    /// Everything that waits.
    fn take(&self) -> Batch {
        let mut queue = self.queue();
        (queue.hurry, queue.bytes) = (false, 0);
        let batch = Batch { tools: std::mem::take(&mut queue.tools), number: queue.number };
        queue.number += 1;
        drop(queue);
        self.went.notify_waiters();
        batch
    }

    /// What gathers from its first line on for `moment`, or less where there is much; `None` once nobody brings any more. Whoever
    /// takes it says when it is [written](Self::written), before it takes the next.
    pub(crate) async fn next(&self, moment: Duration) -> Option<Batch> {
        let mut until = None;
        loop {
            let came = self.came.notified();
            {
                let queue = self.queue();
                if queue.closing {
                    return None;
                }
                if queue.hurry && !queue.tools.is_empty() {
                    break;
                }
                if until.is_none() && !queue.tools.is_empty() {
                    until = Some(Instant::now() + moment);
                }
            }
            match until {
                None => came.await,
                Some(until) if timeout_at(until, came).await.is_err() => break,
                Some(_) => {}
            }
        }
        Some(self.take())
    }

    /// Says that a batch is written, or cannot be.
    pub(crate) fn written(&self, number: u64) {
        self.done.send_replace(number);
    }

    /// Waits until all that has come so far is written.
    pub(crate) async fn settled(&self) {
        let mut done = self.done.subscribe();
        let last = {
            let mut queue = self.queue();
            queue.hurry |= !queue.tools.is_empty();
            if queue.tools.is_empty() { queue.number - 1 } else { queue.number }
        };
        self.came.notify_one();
        let _ = done.wait_for(|done| *done >= last).await;
    }

    /// Ends whoever writes.
    pub(crate) fn close(&self) {
        self.queue().closing = true;
        self.came.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

fn crowd<'q>(queue: &'q mut Queue, tool: &ToolName) -> &'q mut Crowd {
    // The name is copied for the first line only.
    if !queue.tools.contains_key(tool) {
        queue.tools.insert(tool.clone(), Crowd::default());
    }
    queue.tools.entry(tool.clone()).or_default()
}

/// Writes what gathers to files, until the store is gone or after [`Gathered::close`].
pub(crate) async fn write(gathered: Arc<Gathered>, store: Weak<Inner>) {
    while let Some(batch) = gathered.next(MOMENT).await {
        let Some(inner) = store.upgrade() else { return };
        let store = LogStore { inner };
        let each = stream::iter(batch.tools);
        each.for_each_concurrent(ASKING, |(tool, crowd)| store.write_crowd(tool, crowd)).await;
        gathered.written(batch.number);
    }
}

impl LogStore {
    /// Appends a line within a moment, together with what else comes for the tool: for the router, which has many. Never
    /// waits for the disk or for the database.
    pub fn append_soon(&self, tool: &ToolName, instance: &str, source: LineSource, text: String) {
        let line = NewLine { at: Timestamp::now(), instance: instance.to_owned(), source, text };
        self.inner.gathered.push(tool, line);
    }

    /// Writes a tool's lines to files.
    async fn write_crowd(&self, tool: ToolName, crowd: Crowd) {
        let masker = self.inner.masks.of(&tool, &crowd.printing()).await;
        let (store, dir) = (self.clone(), self.tool_dir(&tool));
        let write = move || {
            for part in crowd.into_parts() {
                store.write_part(&tool, &part, masker.as_ref());
            }
            Ok(())
        };
        if let Err(error) = blocking(&dir, write).await {
            tracing::error!(log = %dir.display(), %error, "lines of a log were lost");
        }
    }

    /// Writes lines to files. Where they cannot be, their source is read once more from where it stands; those that have none are lost.
    fn write_part(&self, tool: &ToolName, part: &Part, masker: Option<&Masker>) {
        let lines = part.lines.len();
        let written = match (masker, &part.read) {
            (None, _) => Err(EventsError::Unmasked { tool: tool.clone() }),
            (Some(masker), None) => self.append_own(tool, &part.lines, masker).map(drop),
            (Some(masker), Some(read)) => self.append_read(tool, &part.lines, read, masker),
        };
        if let Err(error) = written {
            if let Some(read) = &part.read {
                read.source.refuse();
            }
            tracing::error!(%tool, lines, %error, "lines of a log could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogLimits;

    fn weather() -> ToolName {
        "weather".parse().expect("a tool name")
    }

    fn lines(crowd: Crowd) -> Vec<NewLine> {
        crowd.into_parts().into_iter().flat_map(|part| part.lines).collect()
    }

    fn line(text: &str) -> NewLine {
        NewLine {
            at: Timestamp::UNIX_EPOCH,
            instance: "router".to_owned(),
            source: LineSource::Access,
            text: text.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_crowd_is_written_in_one_batch() {
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::open(dir.path(), LogLimits::default()).unwrap();
        for number in 0..500 {
            store.append_soon(&weather(), "router", LineSource::Access, format!("GET /{number}"));
        }
        store.settled().await;
        let path = dir.path().join("tools/weather/00000000000000000001.log");
        let stored = std::fs::read_to_string(path).unwrap();
        let lines: Vec<_> = stored.lines().skip(1).collect();
        assert_eq!(lines.len(), 500);
        let ends = lines.iter().filter(|line| !line.contains("\"more\":true"));
        assert!(ends.count() < 5, "a batch has one end");
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let gathered = Gathered::default();
        for _ in 0..MOST + 3 {
            gathered.push(&weather(), line("GET /"));
        }
        let quotes: ToolName = "quotes".parse().unwrap();
        gathered.push(&quotes, line("one"));
        let mut all = gathered.take().tools;
        let kept = lines(all.remove(&weather()).unwrap());
        assert_eq!(kept.len(), MOST + 1);
        let last = "3 lines are left out here: they came faster than they are written";
        assert_eq!((kept[MOST].source, kept[MOST].text.as_str()), (LineSource::Platform, last));
        assert_eq!(lines(all.remove(&quotes).unwrap()), [line("one")], "another tool has room of its own");
        gathered.push(&weather(), line("again"));
        assert_eq!(gathered.take().tools.len(), 1);
    }

    #[test]
    fn all_tools_together_are_bounded_too() {
        let gathered = Gathered::default();
        let long = "x".repeat(1 << 20);
        let tools: Vec<ToolName> = (0..20).map(|number| format!("tool{number}").parse().unwrap()).collect();
        for tool in &tools {
            gathered.push(tool, line(&long));
        }
        let all = gathered.take().tools;
        let kept: usize = all.values().map(|crowd| crowd.lines).sum();
        assert_eq!((kept, all.values().map(|crowd| crowd.left_out).sum::<u64>()), (7, 13));
    }

    #[tokio::test]
    async fn a_source_waits_for_room_and_others_do_not() {
        let gathered = Arc::new(Gathered::default());
        let source = Source::new("v1.web.1", "v1".parse().unwrap());
        let part = |count: u64| {
            let read = Read {
                source: source.clone(),
                from: SourceAt::Line(0, count - 1),
                to: SourceAt::Line(0, count),
                ended: None,
            };
            Part { lines: vec![line(&"x".repeat(100 << 10))], read: Some(read) }
        };
        gathered.offer(&weather(), part(1)).await;
        gathered.offer(&weather(), part(2)).await;
        let third = tokio::spawn({
            let (gathered, part) = (gathered.clone(), part(3));
            async move { gathered.offer(&weather(), part).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!third.is_finished());
        let quotes: ToolName = "quotes".parse().unwrap();
        gathered.offer(&quotes, part(1)).await;
        gathered.push(&weather(), line("GET /"));
        let mut first = gathered.take().tools;
        third.await.unwrap();
        let parts = first.remove(&weather()).unwrap().into_parts();
        let marks: Vec<_> =
            parts.iter().map(|part| part.read.as_ref().map(|read| (read.from, read.to))).collect();
        let whole = Some((SourceAt::Line(0, 0), SourceAt::Line(0, 2)));
        assert_eq!((parts[0].lines.len(), marks), (2, vec![whole, None]), "what goes on is one");
    }
}
