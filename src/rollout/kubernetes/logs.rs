//! What pods print, brought home: one stream a container, into files of the form that the sandbox helper writes.
//!
//! A stream that breaks is taken up again behind the last line that has come. The files are what the [`Witness`] reads and
//! may be lost: the node keeps the same lines for as long as the pod is there.

use super::desired::{CONTAINER, namespace};
use super::settings::ClusterSettings;
use super::view::{PodView, Stage};
use crate::local::{last_lines, log_folder};
use crate::runtime::Witness;
use crate::status::ExitReason;
use hythe_cluster::{Cluster, Output, Position};
use hythe_model::{InstanceId, ToolName};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Files that an instance's output is kept in; the oldest goes first.
const SEGMENTS: u64 = 4;
/// Where the reader expects long lines to be cut, in bytes.
const CUT: usize = 16 << 10;
/// Between two attempts to take up a stream.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the end of a container may take to be told once its stream has ended.
const TOLD: Duration = Duration::from_secs(5);
/// How many attempts a container that has ended is worth.
const LAST_ATTEMPTS: u32 = 10;
/// Last lines asked of a node where none have come home.
const TAIL: i64 = 50;
const TAIL_BYTES: i64 = 64 << 10;
/// Bytes of a line's time.
const TIME: usize = 64;

/// The streams of all pods that were seen.
pub(crate) struct Logs {
    cluster: Cluster,
    settings: ClusterSettings,
    folder: PathBuf,
    segment_bytes: u64,
    witness: Arc<dyn Witness>,
    /// By tool and pod; a pod that is gone is forgotten.
    streams: Mutex<HashMap<(ToolName, String), Streams>>,
    /// Cancelled once another server reads them; none before this one has begun to.
    reading: Mutex<Option<CancellationToken>>,
}

/// The containers of a pod by their attempts, and how to tell each one's stream that it has ended.
type Streams = BTreeMap<u32, watch::Sender<Option<End>>>;

/// How a container ended.
#[derive(Debug, Clone)]
struct End {
    exit: ExitReason,
    /// Whether another has taken its place in the pod: its output is the previous one's then.
    replaced: bool,
}

impl Logs {
    pub(crate) fn new(
        cluster: Cluster,
        settings: ClusterSettings,
        folder: PathBuf,
        bytes: u64,
        witness: Arc<dyn Witness>,
    ) -> Arc<Self> {
        let segment_bytes = (bytes / SEGMENTS).max(64 << 10);
        let (streams, reading) = (Mutex::default(), Mutex::default());
        Arc::new(Self { cluster, settings, folder, segment_bytes, witness, streams, reading })
    }

    /// Reads what these pods and those that come print, until `end`.
    pub(crate) fn lead(self: &Arc<Self>, end: CancellationToken, pods: &[PodView]) {
        self.streams().clear();
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        for pod in pods {
            self.look(pod);
        }
    }

    /// Until when this server reads; `None` where another one does.
    fn reading(&self) -> Option<CancellationToken> {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone();
        reading.filter(|end| !end.is_cancelled())
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<(ToolName, String), Streams>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a stream where a container has come, and tells its stream where one has ended.
    pub(crate) fn look(self: &Arc<Self>, pod: &PodView) {
        let Some(reading) = self.reading() else { return };
        let mut all = self.streams();
        let streams = all.entry((pod.id.tool.clone(), pod.name.clone())).or_default();
        for earlier in streams.range(..pod.id.attempt).map(|(_, stream)| stream) {
            tell(earlier, || End { exit: pod.last_exit.clone().unwrap_or_default(), replaced: true });
        }
        let exit = match &pod.stage {
            Stage::Waiting { .. } => return,
            Stage::Running => None,
            Stage::Ended(exit) => Some(exit.clone()),
        };
        let stream = streams.entry(pod.id.attempt).or_insert_with(|| {
            let end = watch::Sender::new(None);
            let (own, seen, receiver) = (self.clone(), pod.clone(), end.subscribe());
            tokio::spawn(async move { reading.run_until_cancelled(own.carry(seen, receiver)).await });
            end
        });
        if let Some(exit) = exit {
            tell(stream, || End { exit, replaced: false });
        }
    }

    /// A pod that is gone has printed all that it will.
    pub(crate) fn gone(&self, pod: &PodView) {
        let streams = self.streams().remove(&(pod.id.tool.clone(), pod.name.clone()));
        for stream in streams.iter().flat_map(BTreeMap::values) {
            let ended_because = Some("its pod was removed".to_owned());
            tell(stream, || End {
                exit: ExitReason { ended_because, ..ExitReason::default() },
                replaced: false,
            });
        }
    }

    fn api(&self, id: &InstanceId) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &namespace(&self.settings, &id.tool))
    }

    /// Carries one container's output until it has ended, then says so.
    async fn carry(self: Arc<Self>, pod: PodView, mut end: watch::Receiver<Option<End>>) {
        let folder = log_folder(&self.folder, &pod.id);
        let mut spool = match Spool::open(&folder, self.segment_bytes) {
            Ok(spool) => spool,
            Err(error) => return tracing::error!(instance = %pod.id, %error, "its output cannot be kept"),
        };
        self.witness.started(&pod.id, &folder);
        let mut attempts = 0;
        let exit = loop {
            let known = end.borrow().clone();
            let whole = self.copy(&pod, known.as_ref().is_some_and(|end| end.replaced), &mut spool).await;
            if let Some(End { exit, .. }) = known {
                attempts += 1;
                if whole || attempts >= LAST_ATTEMPTS {
                    break exit;
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            // The stream of a container ends with it, before that is told; asked again at once, the node would answer
            // with what the next container prints.
            let patience = if whole { TOLD } else { AGAIN };
            let _ = tokio::time::timeout(patience, end.wait_for(Option::is_some)).await;
        };
        let reason = ExitReason { last_lines: last_lines(&folder), ..exit };
        if self.witness.ended(&pod.id, &reason).await {
            let _ = fs::remove_dir_all(&folder);
        }
    }

    /// Follows a container's output from behind the last line that has come; whether it came to its end.
    async fn copy(&self, pod: &PodView, replaced: bool, spool: &mut Spool) -> bool {
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            follow: !replaced,
            previous: replaced,
            ..LogParams::default()
        };
        let mut at = spool.last;
        let output = Output::open(&self.api(&pod.id), &pod.name, params, at, CUT + TIME).await;
        let Ok(mut output) = output else { return false };
        loop {
            let text = match output.next(&mut at).await {
                Ok(Some(text)) => text,
                Ok(None) => return true,
                Err(_) => return false,
            };
            let Some(position) = at else { continue };
            if let Err(error) = spool.take(position, text) {
                tracing::error!(instance = %pod.id, %error, "its output cannot be kept");
                return false;
            }
        }
    }

    /// The last lines of an instance: what has come home, else what the node has.
    pub(crate) async fn last_lines(&self, pod: &PodView) -> Vec<String> {
        let crashed = !matches!(pod.stage, Stage::Ended(_)) && pod.last_exit.is_some();
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            tail_lines: Some(TAIL),
            limit_bytes: Some(TAIL_BYTES),
            previous: crashed,
            ..LogParams::default()
        };
        let text = self.api(&pod.id).logs(&pod.name, &params).await.unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Says once how a container ended.
fn tell(stream: &watch::Sender<Option<End>>, end: impl FnOnce() -> End) {
    stream.send_if_modified(|known| known.is_none().then(|| *known = Some(end())).is_some());
}

/// The files of one instance's output.
struct Spool {
    folder: PathBuf,
    segment_bytes: u64,
    number: u64,
    written: u64,
    file: File,
    last: Option<Position>,
}

impl Spool {
    fn open(folder: &Path, segment_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let numbers = fs::read_dir(folder)?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse::<u64>().ok());
        let number = numbers.max().unwrap_or(1);
        let path = name(folder, number);
        let last = last_time(&path);
        let file = File::options().create(true).append(true).open(&path)?;
        let written = file.metadata()?.len();
        Ok(Self { folder: folder.to_owned(), segment_bytes, number, written, file, last })
    }

    /// A piece of a line.
    fn take(&mut self, at: Position, text: &[u8]) -> io::Result<()> {
        self.last = Some(at);
        let nanos = at.time.as_nanosecond();
        let mut rest = text;
        loop {
            let (piece, more) = rest.split_at(rest.len().min(CUT));
            let mut bytes = format!("{nanos} o ").into_bytes();
            bytes.extend_from_slice(piece);
            bytes.push(b'\n');
            self.file.write_all(&bytes)?;
            self.written += bytes.len() as u64;
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        if self.written >= self.segment_bytes { self.roll() } else { Ok(()) }
    }

    fn roll(&mut self) -> io::Result<()> {
        self.number += 1;
        self.file = File::options().create(true).append(true).open(name(&self.folder, self.number))?;
        self.written = 0;
        if let Some(oldest) = self.number.checked_sub(SEGMENTS) {
            let _ = fs::remove_file(name(&self.folder, oldest));
        }
        Ok(())
    }
}

fn name(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.log"))
}

/// Where a file's last line was printed. Pieces of one line count each, which passes by a line more at the most.
fn last_time(path: &Path) -> Option<Position> {
    let bytes = fs::read(path).ok()?;
    let time = |line: &[u8]| -> Option<i128> {
        str::from_utf8(line.split(|byte| *byte == b' ').next()?).ok()?.parse().ok()
    };
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let mut times = lines.rsplit(|byte| *byte == b'\n').map(time);
    let last = times.next()??;
    let count = 1 + times.take_while(|time| *time == Some(last)).count();
    Some(Position { time: Timestamp::from_nanosecond(last).ok()?, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> Position {
        let time = format!("2026-11-21T15:12:{second:02}.5Z").parse().unwrap();
        Position { time, count: 1 }
    }

    fn whole(folder: &Path) -> Vec<u8> {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().flat_map(|file| fs::read(file).unwrap()).collect()
    }

    #[test]
    fn a_spool_that_is_opened_again_knows_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 64 << 10).unwrap();
        assert_eq!(spool.last, None);
        spool.take(at(1), b"one").unwrap();
        spool.take(at(2), b"two").unwrap();
        spool.take(Position { count: 2, ..at(2) }, b"\xff").unwrap();
        drop(spool);
        let spool = Spool::open(folder.path(), 64 << 10).unwrap();
        assert_eq!(spool.last, Some(Position { count: 2, ..at(2) }));
        assert!(whole(folder.path()).starts_with(b"1795273921500000000 o one\n"));
    }

    #[test]
    fn files_are_bounded_and_long_lines_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 64 << 10).unwrap();
        for second in 1..=50 {
            spool.take(at(second), &vec![b'x'; 40 << 10]).unwrap();
        }
        let text = whole(folder.path());
        assert!(text.len() <= 5 * (128 << 10), "{}", text.len());
        assert!(text.split(|byte| *byte == b'\n').all(|line| line.len() <= CUT + 30));
    }
}
