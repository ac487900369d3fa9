//! From the log files of instances, written by the sandbox helper, into the runtime logs of their tools.
//!
//! One task an instance looks for new lines (often while there are some, seldom while there are none) and appends them together
//! with how far it has read. What is brought line by line comes by `reading` instead; both end here.

mod files;

use crate::masks::Masks;
use crate::runtime_log::{SourceAt, ToolLog, shown};
use crate::{EventsError, LineSource, LogLine, LogQuery, LogStore, Masker, NewLine, blocking};
use files::{Batch, InstanceFiles};
use futures::TryStreamExt;
use hythe_model::{ReleaseNumber, ToolName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often a follower looks, at most and at least.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_millis(320);
/// How long the continuation of a cut line is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Last lines kept of an ended instance, and ended instances kept of a tool.
pub(crate) const LAST_LINES: usize = 50;
pub(crate) const KEPT_ENDS: usize = 20;

/// The log of one instance, as the helper writes it: numbered files of lines `<unix-nanos> <o|e> text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceLog {
    /// The instance's tool.
    pub tool: ToolName,
    /// What it is called in lines, as in `v14.web.1`: its release first, whose config is masked. Unique among the tool's instances,
    /// restarts included. Letters, digits, `.`, `_` and `-`.
    pub instance: String,
    /// The folder of its files.
    pub dir: PathBuf,
}

/// What is kept of an instance that has ended, however chatty the others are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedInstance {
    /// Its name.
    pub instance: String,
    /// When it ended.
    pub at: Timestamp,
    /// Why, as in "exit code 137, out of memory (512 MiB)".
    pub reason: String,
    /// Its last lines.
    pub lines: Vec<LogLine>,
}

impl EndedInstance {
    /// What its tool's log says of it.
    pub(crate) fn last_line(&self) -> NewLine {
        NewLine {
            at: self.at,
            instance: self.instance.clone(),
            source: LineSource::Platform,
            text: format!("ended: {}", self.reason),
        }
    }
}

/// A task that follows an instance.
pub(crate) struct Follower {
    stop: watch::Sender<bool>,
    /// Ends once everything has been read, or with what kept it from that.
    task: JoinHandle<Result<(), EventsError>>,
}

type Followers = HashMap<(ToolName, String), Follower>;

impl LogStore {
    /// Follows an instance's log into its tool's, from where an earlier follower (of an earlier server, too) stopped:
    /// no line is lost and none comes twice. Following what is followed already changes nothing. Nothing is followed
    /// where the tool has no log: what it left behind is not the next tool's of that name.
    ///
    /// Needs a Tokio runtime.
    pub fn follow_instance(&self, log: InstanceLog) -> Result<(), EventsError> {
        let release = release_of(&log.instance)?;
        let Some(to) = self.begun_log(&log.tool)? else { return Ok(()) };
        let at = to.source(&log.instance);
        let mut followers = self.followers();
        let key = (log.tool.clone(), log.instance.clone());
        if matches!(at, SourceAt::Ended(_)) || followers.contains_key(&key) {
            return Ok(());
        }
        let (stop, stopped) = watch::channel(false);
        let reader = Reading {
            files: InstanceFiles::new(log.dir, at),
            tool: log.tool,
            instance: log.instance,
            release,
            to,
            masks: self.inner.masks.clone(),
            line_bytes: self.inner.limits.line_bytes,
            held: None,
        };
        let task = tokio::spawn(follow(reader, stopped));
        followers.insert(key, Follower { stop, task });
        Ok(())
    }

    /// Reads what is left of an instance's log, writes its end into the tool's, keeps its last lines, and stops following.
    /// Afterwards its folder may be removed. Ending what has ended changes nothing. It ended at this time, or now where none is known.
    ///
    /// Where not all of it can be read, nothing has ended: its folder must stay, and be followed again from where the
    /// reading stopped.
    pub async fn end_instance(
        &self,
        tool: &ToolName,
        instance: &str,
        reason: &str,
        at: Option<Timestamp>,
    ) -> Result<EndedInstance, EventsError> {
        let (release, at) = (release_of(instance)?, at.unwrap_or_else(Timestamp::now));
        let (instance, reason) = (instance.to_owned(), reason.to_owned());
        let mut ended = EndedInstance { instance, at, reason, lines: Vec::new() };
        if let Some(shared) = &self.inner.shared {
            return shared.tools.end(tool, release, ended).await;
        }
        let instance = ended.instance.clone();
        // What was brought line by line comes before its end.
        self.inner.gathered.settled().await;
        let follower = self.followers().remove(&(tool.clone(), instance.clone()));
        if let Some(follower) = follower {
            let _ = follower.stop.send(true);
            follower.task.await.map_err(|error| EventsError::read(&self.tool_dir(tool), &error))??;
        }
        let Some(log) = self.begun_log(tool)? else { return Ok(ended) };
        if matches!(log.source(&instance), SourceAt::Ended(_)) {
            let before =
                self.ended_instances(tool).await?.into_iter().find(|ended| ended.instance == instance);
            if let Some(before) = before {
                return Ok(before);
            }
        }
        let masker = self.inner.masks.of(tool, &[release].into()).await;
        let masker = masker.ok_or_else(|| EventsError::Unmasked { tool: tool.clone() })?;
        ended.lines = self.last_lines(tool, &instance, LAST_LINES).await?;
        let end = self.shown(&[ended.last_line()], &masker);
        log.append(&end, Some((&instance, SourceAt::ended(at))))?;
        let (dir, kept) = (self.ended_dir(tool), ended.clone());
        blocking(&self.ended_dir(tool), move || keep(&dir, &kept)).await?;
        Ok(ended)
    }

    /// The instances of a tool that ended last, newest first, at most twenty.
    pub async fn ended_instances(&self, tool: &ToolName) -> Result<Vec<EndedInstance>, EventsError> {
        if let Some(shared) = &self.inner.shared {
            return shared.tools.ended(tool).await;
        }
        let dir = self.ended_dir(tool);
        blocking(&self.ended_dir(tool), move || read_ended(&dir)).await
    }

    /// An instance's last lines so far.
    pub async fn last_lines(
        &self,
        tool: &ToolName,
        instance: &str,
        count: usize,
    ) -> Result<Vec<LogLine>, EventsError> {
        if let Some(shared) = &self.inner.shared {
            return shared.tools.last_lines(tool, instance, count).await;
        }
        let query = LogQuery {
            instance: Some(instance.to_owned()),
            sources: vec![LineSource::Out, LineSource::Err],
            ..LogQuery::default()
        };
        let mut last = VecDeque::with_capacity(count);
        let mut lines = self.lines(tool, query);
        while let Some(line) = lines.try_next().await? {
            if line.instance == instance {
                last.push_back(line);
            }
            if last.len() > count {
                last.pop_front();
            }
        }
        Ok(last.into())
    }

    /// Stops every follower of a tool, wherever it stands.
    pub(crate) fn unfollow_tool(&self, tool: &ToolName) {
        self.followers().retain(|(of, _), follower| {
            if of == tool {
                follower.task.abort();
            }
            of != tool
        });
    }

    fn followers(&self) -> MutexGuard<'_, Followers> {
        self.inner.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended_dir(&self, tool: &ToolName) -> PathBuf {
        self.tool_dir(tool).join("ended")
    }
}

/// One instance's files on their way into a tool's log.
struct Reading {
    files: InstanceFiles,
    tool: ToolName,
    instance: String,
    release: ReleaseNumber,
    to: Arc<ToolLog>,
    masks: Arc<Masks>,
    line_bytes: usize,
    /// Since when a cut line has waited for its continuation.
    held: Option<Instant>,
}

/// What one look at the files brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Nothing,
    /// All there was.
    All,
    /// As much as one batch holds.
    Part,
}

impl Reading {
    fn read(&mut self, last: bool) -> Result<Batch, EventsError> {
        let patient = !last && self.held.is_none_or(|since| since.elapsed() < PATIENCE);
        let batch = self.files.read(&self.instance, patient)?;
        self.held = if batch.held { self.held.or_else(|| Some(Instant::now())) } else { None };
        Ok(batch)
    }

    fn keep(&mut self, batch: &Batch, masker: &Masker) -> Result<Taken, EventsError> {
        let lines = shown(&batch.lines, masker, self.line_bytes);
        self.to.append(&lines, Some((&self.instance, batch.at)))?;
        self.files.advance(batch.at);
        Ok(if batch.more { Taken::Part } else { Taken::All })
    }

    /// Takes the next lines, if there are any; nothing changes where that fails.
    async fn step(self, last: bool) -> Result<(Self, Result<Taken, EventsError>), EventsError> {
        let (reading, batch) = look(self, move |reading| reading.read(last)).await?;
        let batch = match batch {
            Ok(batch) if batch.lines.is_empty() => return Ok((reading, Ok(Taken::Nothing))),
            Ok(batch) => batch,
            Err(error) => return Ok((reading, Err(error))),
        };
        let Some(masker) = reading.masks.of(&reading.tool, &[reading.release].into()).await else {
            let tool = reading.tool.clone();
            return Ok((reading, Err(EventsError::Unmasked { tool })));
        };
        look(reading, move |reading| reading.keep(&batch, &masker)).await
    }

    /// Takes all lines that are left.
    async fn drain(mut self) -> Result<(), EventsError> {
        loop {
            let (back, taken) = self.step(true).await?;
            if taken? == Taken::Nothing {
                return Ok(());
            }
            self = back;
        }
    }
}

async fn follow(mut reading: Reading, mut stopped: watch::Receiver<bool>) -> Result<(), EventsError> {
    let mut pause = OFTEN;
    // What was written before the stop is seen: the stop is asked for before the last look.
    while !*stopped.borrow() {
        let (back, taken) = reading.step(false).await?;
        reading = back;
        match taken {
            // However fast it prints: what is not read in time is rotated away.
            Ok(Taken::Part) => continue,
            Ok(taken) => pause = if taken == Taken::All { OFTEN } else { (pause * 2).min(SELDOM) },
            Err(error) => {
                let (tool, instance) = (&reading.tool, &reading.instance);
                tracing::error!(%tool, instance, %error, "an instance's lines wait");
                pause = SELDOM * 4;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = stopped.changed() => if changed.is_err() { return Ok(()) },
        }
    }
    reading.drain().await
}

/// Works on a thread that may wait for the disk.
async fn look<T: Send + 'static>(
    mut reading: Reading,
    how: impl FnOnce(&mut Reading) -> T + Send + 'static,
) -> Result<(Reading, T), EventsError> {
    let path = reading.to.dir.clone();
    blocking(&path, move || {
        let taken = how(&mut reading);
        Ok((reading, taken))
    })
    .await
}

/// The release that an instance's name begins with, where it is one.
pub(crate) fn release_of(name: &str) -> Result<ReleaseNumber, EventsError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let is_name = name.len() <= 200 && name.starts_with('v') && name.bytes().all(allowed);
    let release = name.split('.').next().filter(|_| is_name).and_then(|release| release.parse().ok());
    release.ok_or_else(|| EventsError::Name { name: name.chars().take(200).collect() })
}

/// Writes what is kept of an ended instance, and lets the oldest go.
fn keep(dir: &Path, ended: &EndedInstance) -> Result<(), EventsError> {
    let fault = |error: std::io::Error| EventsError::write(dir, &error);
    std::fs::create_dir_all(dir).map_err(fault)?;
    let text = serde_json::to_vec(ended).map_err(|error| EventsError::write(dir, &error))?;
    let fresh = dir.join(format!("{}.new", ended.instance));
    std::fs::write(&fresh, text).map_err(fault)?;
    std::fs::rename(&fresh, dir.join(format!("{}.json", ended.instance))).map_err(fault)?;
    for old in read_ended(dir)?.iter().skip(KEPT_ENDS) {
        std::fs::remove_file(dir.join(format!("{}.json", old.instance))).map_err(fault)?;
    }
    Ok(())
}

fn read_ended(dir: &Path) -> Result<Vec<EndedInstance>, EventsError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| EventsError::read(dir, &error))?,
    };
    let read = |path: PathBuf| serde_json::from_slice(&std::fs::read(path).ok()?).ok();
    let named = entries.flatten().map(|entry| entry.path());
    let mut ended: Vec<EndedInstance> =
        named.filter(|path| path.extension().is_some_and(|end| end == "json")).filter_map(read).collect();
    ended.sort_by_key(|ended| std::cmp::Reverse(ended.at));
    Ok(ended)
}
