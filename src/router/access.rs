//! What was asked and answered, a line a request.

use crate::backend::Backend;
use crate::clients::Turn;
use crate::table::Target;
use http::{HeaderValue, Method, Uri};
use hythe_model::{InstanceId, ToolName};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Takes a line for each request to a tool.
pub trait AccessLog: Send + Sync {
    /// Takes one entry. Called on the request's path: it must not block.
    fn log(&self, entry: &AccessEntry<'_>);
}

/// Takes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAccessLog;

impl AccessLog for NoAccessLog {
    fn log(&self, _: &AccessEntry<'_>) {}
}

/// One request and its answer. Displays as one line, without the query.
#[derive(Debug, Clone)]
pub struct AccessEntry<'a> {
    /// The tool asked.
    pub tool: &'a ToolName,
    /// The instance that answered; `None` where the router did.
    pub instance: Option<&'a InstanceId>,
    /// Who asked.
    pub client: IpAddr,
    /// The method.
    pub method: &'a str,
    /// The path, without its query, which may hold secrets.
    pub path: &'a str,
    /// The status answered.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub bytes: u64,
    /// From the request's head to the answer's end.
    pub took: Duration,
    /// The request's id.
    pub request_id: &'a str,
    /// What went wrong: the router's own answer, or an answer that was cut.
    pub error: Option<&'a str>,
}

impl fmt::Display for AccessEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, status, bytes, client, request_id, .. } = self;
        let millis = self.took.as_millis();
        write!(f, "{method} {path} {status} {bytes} bytes {millis} ms from {client} id {request_id}")?;
        if let Some(instance) = self.instance {
            write!(f, " to {}.{}", instance.process, instance.place)?;
        }
        match self.error {
            Some(error) => write!(f, " ({error})"),
            None => Ok(()),
        }
    }
}

/// A request that is noted when its answer has ended, however it ends: on drop.
pub(crate) struct Noted {
    /// Bytes of the answer so far.
    pub(crate) bytes: u64,
    /// The answer's status.
    pub(crate) status: u16,
    /// What went wrong.
    pub(crate) error: Option<&'static str>,
    /// Whether all of the answer was there.
    pub(crate) complete: bool,
    /// The instance that answers.
    pub(crate) backend: Option<Arc<Backend>>,
    asked: Asked,
}

/// What is known of a request from its head.
pub(crate) struct Asked {
    pub(crate) log: Arc<dyn AccessLog>,
    pub(crate) target: Arc<Target>,
    pub(crate) client: IpAddr,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) request_id: HeaderValue,
    pub(crate) started: Instant,
    /// Its place among the client's requests, until its answer has ended.
    pub(crate) turn: Option<Turn>,
}

impl Asked {
    /// The note of its answer.
    pub(crate) fn noted(self, status: u16, backend: Option<Arc<Backend>>) -> Noted {
        Noted { bytes: 0, status, error: None, complete: false, backend, asked: self }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let asked = &self.asked;
        let cut = (!self.complete).then_some("the client went away");
        asked.log.log(&AccessEntry {
            tool: &asked.target.tool,
            instance: self.backend.as_ref().map(|backend| &backend.id),
            client: asked.client,
            method: asked.method.as_str(),
            path: asked.uri.path(),
            status: self.status,
            bytes: self.bytes,
            took: asked.started.elapsed(),
            request_id: asked.request_id.to_str().unwrap_or_default(),
            error: self.error.or(cut),
        });
    }
}
