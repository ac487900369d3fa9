//! From the log files of instances, written by the sandbox helper, into the runtime logs of their tools.

use crate::{EventsError, LogLine, LogStore};
use hythe_model::ToolName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The log of one instance, as the helper writes it: rotated files of lines `<unix-nanos> <o|e> text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceLog {
    /// The instance's tool.
    pub tool: ToolName,
    /// What it is called in lines, as in `v14.web.1`; unique among the tool's instances, restarts included.
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

impl LogStore {
    /// Follows an instance's log into its tool's, from where an earlier follower (of an earlier server, too) stopped:
    /// no line is lost and none comes twice. Following what is followed already changes nothing.
    pub fn follow_instance(&self, log: InstanceLog) -> Result<(), EventsError> {
        todo!("{log:?}")
    }

    /// Reads what is left of an instance's log, writes its end into the tool's, keeps its last lines, and stops following.
    /// Afterwards its folder may be removed.
    pub async fn end_instance(
        &self,
        tool: &ToolName,
        instance: &str,
        reason: &str,
    ) -> Result<EndedInstance, EventsError> {
        todo!("{tool} {instance} {reason}")
    }

    /// The instances of a tool that ended last, newest first, at most twenty.
    pub async fn ended_instances(&self, tool: &ToolName) -> Result<Vec<EndedInstance>, EventsError> {
        todo!("{tool}")
    }

    /// An instance's last lines so far.
    pub async fn last_lines(
        &self,
        tool: &ToolName,
        instance: &str,
        count: usize,
    ) -> Result<Vec<LogLine>, EventsError> {
        todo!("{tool} {instance} {count}")
    }
}
