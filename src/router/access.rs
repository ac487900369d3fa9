//! What was asked and answered, a line a request.

use hythe_model::{InstanceId, ToolName};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

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
            write!(f, " to {}.{}", instance.process, instance.index)?;
        }
        match self.error {
            Some(error) => write!(f, " ({error})"),
            None => Ok(()),
        }
    }
}
