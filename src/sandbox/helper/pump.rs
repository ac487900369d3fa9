//! Carries a sandbox's output: to its log files, or counted to the caller's files.
//!
//! Enter at [`Pump::start`]. Where a caller has gone, its output is read and dropped: the sandbox goes on.

use super::logs::{LogWriter, Stream};
use super::state::Running;
use crate::ExitCause;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Where output goes.
pub(super) enum Sink {
    Log(LogWriter),
    Files { output: File, error: File },
}

/// A thread that carries.
pub(super) struct Pump {
    done: Receiver<()>,
}

impl Pump {
    /// Carries from the reading ends of two pipes until both end. Beyond `limit` bytes the sandbox is ended.
    pub(super) fn start(
        running: Arc<Running>,
        output: OwnedFd,
        error: OwnedFd,
        sink: Sink,
        limit: Option<u64>,
    ) -> std::io::Result<Self> {
        let (finished, done) = channel();
        let mut carrier = Carrier { running, sink, limit, carried: 0 };
        std::thread::Builder::new().name("output".into()).stack_size(256 << 10).spawn(move || {
            carrier.run(output.into(), error.into());
            let _ = finished.send(());
        })?;
        Ok(Self { done })
    }

    /// Waits until everything is carried. A caller that does not read its pipe is not waited for without end.
    pub(super) fn join(&self, patience: Duration) {
        let _ = self.done.recv_timeout(patience);
    }
}

struct Carrier {
    running: Arc<Running>,
    sink: Sink,
    limit: Option<u64>,
    carried: u64,
}

impl Carrier {
    fn run(&mut self, output: File, error: File) {
        let mut open = vec![(Stream::Output, output), (Stream::Error, error)];
        let mut buffer = vec![0; 64 << 10];
        while !open.is_empty() {
            let mut waiting: Vec<_> = open.iter().map(|(_, file)| PollFd::new(file, PollFlags::IN)).collect();
            if poll(&mut waiting, None).is_err() {
                continue;
            }
            let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut at = 0;
            open.retain_mut(|(stream, file)| {
                at += 1;
                !ready[at - 1] || self.carry(*stream, file, &mut buffer)
            });
        }
        if let Sink::Log(log) = &mut self.sink {
            log.finish();
        }
    }

    /// Carries what is there; false at the end.
    fn carry(&mut self, stream: Stream, file: &mut File, buffer: &mut [u8]) -> bool {
        let count = match file.read(buffer) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => return error.kind() == ErrorKind::Interrupted,
        };
        let left = self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.carried));
        self.carried += count as u64;
        let kept = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        match (&mut self.sink, stream) {
            (Sink::Log(log), _) => log.write(stream, &buffer[..kept]),
            (Sink::Files { output, .. }, Stream::Output) => drop(output.write_all(&buffer[..kept])),
            (Sink::Files { error, .. }, Stream::Error) => drop(error.write_all(&buffer[..kept])),
        }
        if kept < count {
            self.running.end(ExitCause::OutputTooLong);
        }
        true
    }
}
