//! A file of lines that only grows, and the thread that brings such files to the disk.
//!
//! A line is whole or absent: what a full disk or a kill left behind half written is cut off.

use crate::EventsError;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a line may wait for the disk.
const BATCH: Duration = Duration::from_secs(1);

/// A file of lines.
pub(crate) struct Journal {
    path: PathBuf,
    on_disk: Arc<OnDisk>,
    len: u64,
    syncer: Arc<Syncer>,
}

/// A file that may have unwritten pages. It is closed once they are on the disk: open are only those that are written, however many
/// there are.
pub(crate) struct OnDisk {
    open: Mutex<Open>,
    dirty: AtomicBool,
    /// Held until what was written is on the disk.
    syncing: Mutex<()>,
}

struct Open {
    path: PathBuf,
    file: Option<File>,
}

impl Open {
    fn file(&mut self) -> std::io::Result<&File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(OpenOptions::new().write(true).open(&self.path)?)),
        }
    }
}

impl Journal {
    /// Opens or makes a file, and cuts off a last line without end.
    pub(crate) fn open(path: &Path, syncer: &Arc<Syncer>) -> Result<Self, EventsError> {
        let fault = |error: std::io::Error| EventsError::write(path, &error);
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o640)
            .open(path)
            .map_err(fault)?;
        let whole = last_end(&file).map_err(fault)?;
        file.set_len(whole).map_err(fault)?;
        Ok(Self {
            path: path.to_owned(),
            on_disk: OnDisk::new(path, None),
            len: whole,
            syncer: Arc::clone(syncer),
        })
    }

    /// Bytes of whole lines.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends whole lines, all or none.
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<(), EventsError> {
        let written = self.on_disk.with(|file| {
            file.write_all_at(lines, self.len).inspect_err(|_| {
                let _ = file.set_len(self.len);
            })
        });
        written.map_err(|error| EventsError::write(&self.path, &error))?;
        self.len += lines.len() as u64;
        self.syncer.note(&self.on_disk);
        Ok(())
    }

    /// Cuts everything after this length off.
    pub(crate) fn truncate(&mut self, len: u64) -> Result<(), EventsError> {
        let cut = self.on_disk.with(|file| file.set_len(len));
        cut.map_err(|error| EventsError::write(&self.path, &error))?;
        self.len = len;
        self.syncer.note(&self.on_disk);
        Ok(())
    }

    /// Gives the file another name.
    pub(crate) fn rename(&mut self, to: &Path) -> Result<(), EventsError> {
        std::fs::rename(&self.path, to).map_err(|error| EventsError::write(to, &error))?;
        to.clone_into(&mut self.path);
        to.clone_into(&mut self.on_disk.open().path);
        Ok(())
    }

    /// Everything in it.
    pub(crate) fn read(&self) -> Result<Vec<u8>, EventsError> {
        let fault = |error: std::io::Error| EventsError::read(&self.path, &error);
        let mut bytes = Vec::new();
        File::open(&self.path).map_err(fault)?.take(self.len).read_to_end(&mut bytes).map_err(fault)?;
        Ok(bytes)
    }

    /// The file, to wait for the disk.
    pub(crate) fn on_disk(&self) -> Arc<OnDisk> {
        Arc::clone(&self.on_disk)
    }
}

impl OnDisk {
    fn new(path: &Path, file: Option<File>) -> Arc<Self> {
        let open = Mutex::new(Open { path: path.to_owned(), file });
        Arc::new(Self { open, dirty: AtomicBool::new(false), syncing: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&File) -> std::io::Result<T>) -> std::io::Result<T> {
        work(self.open().file()?)
    }

    /// Waits until what was written is on the disk.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.dirty.store(false, Ordering::Release);
        let written = self.open().file.take();
        written.map_or(Ok(()), |file| file.sync_data())
    }
}

/// Where the last whole line ends.
fn last_end(file: &File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0u8; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let length = usize::try_from(end - start).unwrap_or(buffer.len());
        file.read_exact_at(&mut buffer[..length], start)?;
        if let Some(at) = buffer[..length].iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Brings files to the disk, in batches, on a thread of its own.
pub(crate) struct Syncer {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Arc<OnDisk>>,
    hurry: bool,
    closing: bool,
}

impl Syncer {
    /// Starts the thread; it ends after [`Syncer::close`].
    pub(crate) fn start() -> std::io::Result<Arc<Self>> {
        let syncer = Arc::new(Self { queue: Mutex::default(), wake: Condvar::new() });
        let of_thread = Arc::clone(&syncer);
        std::thread::Builder::new().name("hythe-log-sync".to_owned()).spawn(move || of_thread.run())?;
        Ok(syncer)
    }

    fn note(&self, file: &Arc<OnDisk>) {
        if file.dirty.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push(Arc::clone(file));
        if queue.waiting.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// Writes what waits at once.
    pub(crate) fn hurry(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).hurry = true;
        self.wake.notify_one();
    }

    /// Ends the thread after a last round.
    pub(crate) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).closing = true;
        self.wake.notify_one();
    }

    fn run(&self) {
        loop {
            let (batch, closing) = self.next();
            for file in batch {
                if let Err(error) = file.sync() {
                    tracing::error!(%error, "a log could not be brought to the disk");
                }
            }
            if closing {
                return;
            }
        }
    }

    /// Waits for a file, then for the end of its batch.
    fn next(&self) -> (Vec<Arc<OnDisk>>, bool) {
        let idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closing;
        let patient = |queue: &mut Queue| !queue.hurry && !queue.closing;
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = self.wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
        let waited =
            self.wake.wait_timeout_while(queue, BATCH, patient).unwrap_or_else(PoisonError::into_inner);
        let mut queue = waited.0;
        queue.hurry = false;
        (std::mem::take(&mut queue.waiting), queue.closing)
    }
}

#[cfg(test)]
impl Journal {
    /// A file on a disk that is full.
    pub(crate) fn full(syncer: &Arc<Syncer>) -> Self {
        let file = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let on_disk = OnDisk::new(Path::new("/dev/full"), Some(file));
        Self { path: "/dev/full".into(), on_disk, len: 0, syncer: Arc::clone(syncer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_line_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let syncer = Syncer::start().unwrap();
        for (stored, whole) in [("", 0), ("half", 0), ("one\n", 4), ("one\ntwo\nha", 8)] {
            std::fs::write(&path, stored).unwrap();
            let mut journal = Journal::open(&path, &syncer).unwrap();
            assert_eq!(journal.len(), whole);
            journal.append(b"next\n").unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("{}next\n", &stored[..usize::try_from(whole).unwrap()]));
        }
        std::fs::write(&path, [b"x\n".to_vec(), vec![b'y'; 200_000]].concat()).unwrap();
        assert_eq!(Journal::open(&path, &syncer).unwrap().len(), 2, "however long the half is");
        syncer.close();
    }

    #[test]
    fn a_file_that_nobody_writes_is_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let syncer = Syncer::start().unwrap();
        let mut journal = Journal::open(&path, &syncer).unwrap();
        let is_open = |journal: &Journal| journal.on_disk.open().file.is_some();
        assert!(!is_open(&journal));
        journal.append(b"one\n").unwrap();
        assert!(is_open(&journal));
        journal.on_disk().sync().unwrap();
        assert!(!is_open(&journal));
        let moved = dir.path().join("moved");
        journal.rename(&moved).unwrap();
        journal.append(b"two\n").unwrap();
        journal.truncate(4).unwrap();
        journal.append(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\nthree\n");
        syncer.close();
    }

    #[test]
    fn a_full_disk_leaves_no_half_line() {
        let syncer = Syncer::start().unwrap();
        let mut journal = Journal::full(&syncer);
        assert!(journal.append(b"line\n").is_err());
        assert_eq!(journal.len(), 0);
        syncer.close();
    }
}
