//! Telling what happens: one JSON object a line.

use crate::files;
use hythe_cnb::protocol::{Failure, MESSAGE_MAX, Message, Outcome};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;

/// Where messages go. May be told from several threads.
pub(crate) struct Report {
    out: Mutex<Box<dyn Write + Send>>,
    /// A file for the outcome, where it does not go the way of all messages.
    outcome: Option<PathBuf>,
}

impl Report {
    /// A report on standard output.
    pub(crate) fn to_stdout() -> Self {
        Self { out: Mutex::new(Box::new(io::stdout())), outcome: None }
    }

    /// Leaves the outcome in a file.
    pub(crate) fn with_outcome_in(self, path: impl Into<PathBuf>) -> Self {
        Self { outcome: Some(path.into()), ..self }
    }

    /// Tells one thing. Nobody is there any more where that fails, so the failure is ignored.
    pub(crate) fn tell(&self, message: &Message) {
        if let Ok(bytes) = serde_json::to_vec(message) {
            self.write(bytes);
        }
    }

    /// Tells the outcome, unless it is larger than its reader takes.
    pub(crate) fn done(&self, outcome: Outcome) -> Result<(), Box<Failure>> {
        let bytes = serde_json::to_vec(&Message::Done { outcome }).unwrap_or_default();
        if bytes.is_empty() || bytes.len() > MESSAGE_MAX {
            let reason = format!("what the buildpacks wrote takes {} bytes as JSON", bytes.len());
            return Err(Box::new(Failure::Setup { reason }));
        }
        let Some(path) = &self.outcome else {
            self.write(bytes);
            return Ok(());
        };
        std::fs::write(path, bytes).map_err(files::setup("write", path))
    }

    fn write(&self, mut bytes: Vec<u8>) {
        bytes.push(b'\n');
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
    }
}
