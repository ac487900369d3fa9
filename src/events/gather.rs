//! Lines that come in crowds: gathered for a moment, then written together, by a thread of their own.
//!
//! Whoever brings a line never waits. What comes faster than it can be written is left out, and the log says how much.

use crate::{Inner, LineSource, LogStore, NewLine};
use hythe_model::ToolName;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long lines gather.
const MOMENT: Duration = Duration::from_millis(50);
/// Lines of one tool that may wait.
const MOST: usize = 4096;

/// The lines that wait to be written.
#[derive(Default)]
pub(crate) struct Gathered {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Held while a batch is written, so that none overtakes another.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Queue {
    tools: HashMap<ToolName, Crowd>,
    /// Set where a crowd is half of what may wait.
    hurry: bool,
    closing: bool,
}

/// What waits of one tool.
#[derive(Default)]
struct Crowd {
    lines: Vec<NewLine>,
    left_out: u64,
}

impl Crowd {
    /// The lines, and a last one that says how many are missing.
    fn into_lines(self) -> Vec<NewLine> {
        let mut lines = self.lines;
        if self.left_out > 0 {
            lines.push(NewLine {
                at: Timestamp::now(),
                instance: "platform".to_owned(),
                source: LineSource::Platform,
                text: format!(
                    "{} lines are left out here: they came faster than they are written",
                    self.left_out
                ),
            });
        }
        lines
    }
}

impl Gathered {
    /// Takes a line, or counts it where too many wait.
    fn push(&self, tool: &ToolName, line: NewLine) {
        let mut queue = self.queue();
        let begins = queue.tools.is_empty();
        if !queue.tools.contains_key(tool) {
            queue.tools.insert(tool.clone(), Crowd::default());
        }
        let Some(crowd) = queue.tools.get_mut(tool) else { return };
        if crowd.lines.len() < MOST {
            crowd.lines.push(line);
        } else {
            crowd.left_out += 1;
        }
        let hurry = crowd.lines.len() == MOST / 2;
        queue.hurry |= hurry;
        if begins || hurry {
            self.wake.notify_one();
        }
    }

    /// Everything that waits.
    fn take(&self) -> HashMap<ToolName, Crowd> {
        let mut queue = self.queue();
        queue.hurry = false;
        std::mem::take(&mut queue.tools)
    }

    /// Waits until lines have gathered; `false` once nobody brings any more.
    fn wait(&self) -> bool {
        let none = |queue: &mut Queue| queue.tools.is_empty() && !queue.closing;
        let more = |queue: &mut Queue| !queue.hurry && !queue.closing;
        let queue = self.wake.wait_while(self.queue(), none).unwrap_or_else(PoisonError::into_inner);
        let waited =
            self.wake.wait_timeout_while(queue, MOMENT, more).unwrap_or_else(PoisonError::into_inner);
        !waited.0.closing
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        self.queue().closing = true;
        self.wake.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread; it ends with the store or after [`Gathered::close`].
pub(crate) fn start(gathered: Arc<Gathered>, store: Weak<Inner>) -> std::io::Result<()> {
    let write = move || {
        while gathered.wait() {
            let Some(inner) = store.upgrade() else { return };
            LogStore { inner }.write_gathered();
        }
    };
    std::thread::Builder::new().name("hythe-log-lines".to_owned()).spawn(write).map(drop)
}

impl LogStore {
    /// Appends a line within a moment, together with what else comes for the tool: for the router, which has many. Never
    /// waits for the disk.
    pub fn append_soon(&self, tool: &ToolName, instance: &str, source: LineSource, text: String) {
        let line = NewLine { at: Timestamp::now(), instance: instance.to_owned(), source, text };
        self.inner.gathered.push(tool, line);
    }

    /// Writes what [`LogStore::append_soon`] has gathered.
    pub fn write_gathered(&self) {
        let gathered = &self.inner.gathered;
        let _writing = gathered.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for (tool, crowd) in gathered.take() {
            let lines = crowd.into_lines();
            if let Err(error) = self.append_lines(&tool, &lines) {
                tracing::error!(%tool, lines = lines.len(), %error, "lines of a log were lost");
            }
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

    #[test]
    fn a_crowd_is_written_in_one_batch() {
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::open(dir.path(), LogLimits::default()).unwrap();
        // The thread that writes waits meanwhile, as on a slow disk.
        let writing = store.inner.gathered.writing.lock().unwrap();
        for number in 0..500 {
            store.append_soon(&weather(), "router", LineSource::Access, format!("GET /{number}"));
        }
        drop(writing);
        store.write_gathered();
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
        let line = |text: &str| NewLine {
            at: Timestamp::UNIX_EPOCH,
            instance: "router".to_owned(),
            source: LineSource::Access,
            text: text.to_owned(),
        };
        for _ in 0..MOST + 3 {
            gathered.push(&weather(), line("GET /"));
        }
        let quotes: ToolName = "quotes".parse().unwrap();
        gathered.push(&quotes, line("one"));
        let mut all = gathered.take();
        let kept = all.remove(&weather()).unwrap().into_lines();
        assert_eq!(kept.len(), MOST + 1);
        let last = "3 lines are left out here: they came faster than they are written";
        assert_eq!((kept[MOST].source, kept[MOST].text.as_str()), (LineSource::Platform, last));
        assert_eq!(
            all.remove(&quotes).unwrap().into_lines(),
            [line("one")],
            "another tool has room of its own"
        );
        gathered.push(&weather(), line("again"));
        assert_eq!(gathered.take().len(), 1);
    }
}
