//! Answers that come line by line: one JSON object a line, empty lines to keep the connection open.

use crate::client::{causes, unexpected};
use crate::failure::{Code, Failure};
use hythe_model::Fault;
use reqwest::Response;
use serde_json::Value;
use std::time::{Duration, Instant};

/// The longest line read, in bytes.
const LONGEST: usize = 4 << 20;

/// How long a lost connection is tried again, as while the server restarts.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a stream has been without its server.
#[derive(Default)]
pub(crate) struct Patience(Option<Instant>);

impl Patience {
    /// Waits before another try; `false` once it has been tried long enough. Patience begins anew with whatever arrives.
    pub(crate) async fn again(&mut self, arrived: bool) -> bool {
        if arrived {
            self.0 = None;
        }
        let left = self.0.get_or_insert_with(Instant::now).elapsed() < PATIENCE;
        if left {
            tokio::time::sleep(PAUSE).await;
        }
        left
    }
}

/// The lines of one answer.
pub(crate) struct Lines {
    response: Response,
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` begins.
    start: usize,
}

impl Lines {
    /// The lines of this answer's body.
    pub(crate) fn new(response: Response) -> Self {
        Self { response, buffer: Vec::new(), start: 0 }
    }

    /// The next object; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            while let Some(line) = self.buffered() {
                if !line.trim_ascii().is_empty() {
                    return serde_json::from_slice(line).map(Some).map_err(|error| unexpected(&error));
                }
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            if self.buffer.len() > LONGEST {
                return Err(Failure::local("unexpected-answer", "The server sent a line without end."));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) if self.buffer.trim_ascii().is_empty() => return Ok(None),
                Ok(None) => return Err(broken("The answer ended within a line.")),
                Err(error) => return Err(broken(&causes(&error).pop().unwrap_or_default())),
            }
        }
    }

    fn buffered(&mut self) -> Option<&[u8]> {
        let rest = &self.buffer[self.start..];
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let from = self.start;
        self.start += length + 1;
        Some(&self.buffer[from..from + length])
    }
}

/// The connection ended before the answer did.
fn broken(why: &str) -> Failure {
    let fault = Fault::new("client/connection-lost", "The connection to the server was lost.").why(why);
    Failure::Fault(Code::Unreachable, fault)
}
