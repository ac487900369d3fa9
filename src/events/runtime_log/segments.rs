//! The files of a runtime log: each begins with where every source stood, the oldest goes first.
//!
//! A batch of lines carries, on its last line, how far its source was read. What a kill has left of a batch without that line is
//! cut off at the next start and read again from the source: so no line is lost and none comes twice. The state lies in
//! the newest segment alone, so that older ones can go.

use super::Reached;
use super::stored::{Head, SourceAt, Stored};
use crate::journal::{Journal, Syncer};
use crate::{EventsError, NewLine};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Segments of a full log.
const COUNT: u64 = 8;
/// The smallest segment, in bytes.
const SMALLEST: u64 = 16 << 10;
/// How many ended sources are remembered, so that a late reader does not begin them again.
const ENDED: usize = 64;

pub(super) struct Segments {
    dir: PathBuf,
    syncer: Arc<Syncer>,
    cap: u64,
    /// First position and bytes of those that are complete.
    closed: VecDeque<(u64, u64)>,
    first: u64,
    journal: Journal,
    last: u64,
    sources: BTreeMap<String, SourceAt>,
}

/// The file of the segment that begins with this position.
pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

impl Segments {
    pub(super) fn open(dir: &Path, syncer: &Arc<Syncer>, cap: u64) -> Result<Self, EventsError> {
        std::fs::create_dir_all(dir).map_err(|error| EventsError::write(dir, &error))?;
        let mut closed: VecDeque<(u64, u64)> = list(dir)?.into();
        let (first, journal) = match closed.pop_back() {
            Some((first, _)) => (first, Journal::open(&segment_path(dir, first), syncer)?),
            None => (1, begin(dir, syncer, 1, &BTreeMap::new())?),
        };
        let sources = BTreeMap::new();
        let (dir, syncer) = (dir.to_owned(), Arc::clone(syncer));
        let mut segments = Self { dir, syncer, cap, closed, first, journal, last: first - 1, sources };
        segments.recover()?;
        Ok(segments)
    }

    /// Reads the newest segment's state, and cuts off a batch without end.
    fn recover(&mut self) -> Result<(), EventsError> {
        let path = segment_path(&self.dir, self.first);
        let fault = |error: serde_json::Error| EventsError::read(&path, &error);
        let bytes = self.journal.read()?;
        let mut whole = 0;
        let mut at = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            at += line.len() as u64;
            if line.starts_with(b"{\"first\"") {
                self.sources = serde_json::from_slice::<Head>(line).map_err(fault)?.sources;
                whole = at;
                continue;
            }
            let stored: Stored<'_> = serde_json::from_slice(line).map_err(fault)?;
            if !stored.more {
                whole = at;
                self.last = stored.n;
                self.sources.extend(stored.src);
            }
        }
        if whole < self.journal.len() { self.journal.truncate(whole) } else { Ok(()) }
    }

    pub(super) fn firsts(&self) -> Vec<u64> {
        self.closed.iter().map(|(first, _)| *first).chain([self.first]).collect()
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn reached(&self) -> Reached {
        Reached { segment: self.first, bytes: self.journal.len(), removed: false }
    }

    pub(super) fn source(&self, instance: &str) -> SourceAt {
        self.sources.get(instance).copied().unwrap_or_default()
    }

    /// Appends a batch, and with it how far its source was read.
    pub(super) fn append(
        &mut self,
        lines: &[NewLine],
        source: Option<(&str, SourceAt)>,
    ) -> Result<(), EventsError> {
        let Some(end) = lines.len().checked_sub(1) else { return Ok(()) };
        if self.journal.len() >= (self.cap / COUNT).max(SMALLEST) {
            self.rotate()?;
        }
        let last = self.last + lines.len() as u64;
        let source = source.map(|(name, at)| (name.to_owned(), at));
        let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.text.len() + 100).sum());
        for (index, line) in lines.iter().enumerate() {
            let mut stored = Stored::new(self.last + 1 + index as u64, line);
            stored.more = index < end;
            stored.src = if index == end { source.clone() } else { None };
            serde_json::to_writer(&mut bytes, &stored)
                .map_err(|error| EventsError::write(&self.dir, &error))?;
            bytes.push(b'\n');
        }
        self.journal.append(&bytes)?;
        self.last = last;
        self.sources.extend(source);
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), EventsError> {
        self.forget();
        let first = self.last + 1;
        let journal = begin(&self.dir, &self.syncer, first, &self.sources)?;
        let old = std::mem::replace(&mut self.journal, journal);
        self.closed.push_back((self.first, old.len()));
        self.first = first;
        let share = (self.cap / COUNT).max(SMALLEST);
        let mut bytes: u64 = self.closed.iter().map(|(_, bytes)| bytes).sum();
        while bytes + share > self.cap {
            let Some((oldest, its)) = self.closed.pop_front() else { break };
            let path = segment_path(&self.dir, oldest);
            std::fs::remove_file(&path).map_err(|error| EventsError::write(&path, &error))?;
            bytes -= its;
        }
        Ok(())
    }

    /// Forgets the sources that ended the longest ago.
    fn forget(&mut self) {
        let mut ends = self.ends();
        if ends.len() > ENDED {
            ends.sort_unstable();
            let before = SourceAt::Ended(ends[ends.len() - ENDED]);
            self.sources.retain(|_, at| !at.is_before(before));
        }
    }

    fn ends(&self) -> Vec<u64> {
        let ended = |at: &SourceAt| if let SourceAt::Ended(at) = at { Some(*at) } else { None };
        self.sources.values().filter_map(ended).collect()
    }

    /// The ends that are remembered, where others may be forgotten; none where none is.
    pub(super) fn remembered_ends(&self) -> Vec<SourceAt> {
        let ends = self.ends();
        if ends.len() < ENDED { Vec::new() } else { ends.into_iter().map(SourceAt::Ended).collect() }
    }
}

/// Begins a segment; it appears with its head or not at all.
fn begin(
    dir: &Path,
    syncer: &Arc<Syncer>,
    first: u64,
    sources: &BTreeMap<String, SourceAt>,
) -> Result<Journal, EventsError> {
    let path = segment_path(dir, first);
    let fresh = dir.join("new");
    let head = Head { first, sources: sources.clone() };
    let mut line = serde_json::to_vec(&head).map_err(|error| EventsError::write(&path, &error))?;
    line.push(b'\n');
    let _ = std::fs::remove_file(&fresh);
    let mut journal = Journal::open(&fresh, syncer)?;
    journal.append(&line)?;
    journal.rename(&path)?;
    Ok(journal)
}

/// The segments of a folder: first position and bytes, oldest first.
fn list(dir: &Path) -> Result<Vec<(u64, u64)>, EventsError> {
    let fault = |error: std::io::Error| EventsError::read(dir, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u64>().ok());
        if let Some(first) = first.filter(|first| *first > 0) {
            found.push((first, entry.metadata().map_err(fault)?.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}
