//! What the command prints, on this program's own streams. A task prints, so that nothing else waits for a slow reader.
//!
//! How much waits here is what the server may send before it is told that some was printed.

use crate::failure::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hythe_api::types::RunLine;
use std::io;
use tokio::io::{AsyncWriteExt, stderr, stdout};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The printing task.
pub(super) struct Screen {
    to: Option<mpsc::UnboundedSender<(Vec<u8>, bool)>>,
    printed: mpsc::UnboundedReceiver<io::Result<usize>>,
    task: JoinHandle<()>,
}

impl Screen {
    /// Prints bytes as they are, or as the API's objects.
    pub(super) fn start(json: bool) -> Self {
        let (to, mut pieces) = mpsc::unbounded_channel::<(Vec<u8>, bool)>();
        let (say, printed) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some((bytes, error)) = pieces.recv().await {
                let done =
                    if json { print(&line(&bytes, error), false).await } else { print(&bytes, error).await };
                let failed = done.is_err();
                if say.send(done.map(|()| bytes.len())).is_err() || failed {
                    return;
                }
            }
        });
        Self { to: Some(to), printed, task }
    }

    /// Prints some more.
    pub(super) fn print(&self, bytes: Vec<u8>, error: bool) {
        // Where nobody prints any more, `taken` says why.
        let _ = self.to.as_ref().map(|to| to.send((bytes, error)));
    }

    /// How many bytes were printed since the last time.
    pub(super) async fn taken(&mut self) -> Result<usize, Failure> {
        match self.printed.recv().await {
            Some(done) => Ok(done?),
            None => std::future::pending().await,
        }
    }

    /// Waits until everything is printed.
    pub(super) async fn finish(&mut self) -> Result<(), Failure> {
        self.to = None;
        let _ = (&mut self.task).await;
        while let Ok(done) = self.printed.try_recv() {
            done?;
        }
        Ok(())
    }
}

fn line(bytes: &[u8], error: bool) -> Vec<u8> {
    let data = STANDARD.encode(bytes);
    let line = if error { RunLine::Stderr { data } } else { RunLine::Stdout { data } };
    format!("{}\n", serde_json::json!(line)).into_bytes()
}

async fn print(bytes: &[u8], error: bool) -> io::Result<()> {
    if error {
        let mut to = stderr();
        to.write_all(bytes).await?;
        return to.flush().await;
    }
    let mut to = stdout();
    to.write_all(bytes).await?;
    to.flush().await
}
