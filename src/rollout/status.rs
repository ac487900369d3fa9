//! What people see of an instance: its state and why the one before it ended.

use hythe_model::InstanceId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One instance of a tool's formation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its name; the attempt counts its restarts.
    pub id: InstanceId,
    /// Where it stands.
    pub state: InstanceState,
    /// Since when.
    pub since: jiff::Timestamp,
    /// Restarts after crashes, since this server runs.
    pub restarts: u32,
    /// Why the instance before it in this place ended, where one did.
    pub last_exit: Option<ExitReason>,
    /// Whether it belongs to the part of a release that takes traffic first, before the release is live.
    #[serde(default)]
    pub canary: bool,
}

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum InstanceState {
    /// Started, not yet ready.
    Starting,
    /// Ready: a web instance of the live release takes traffic.
    Ready,
    /// Ended by itself; it is started again at this time.
    Crashed {
        /// When.
        retry_at: jiff::Timestamp,
    },
    /// Finishing its requests or shutting down.
    Stopping,
}

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReason {
    /// Its exit code, where it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The memory limit in bytes that it went over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// The disk limit in bytes that it went over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_limit: Option<u64>,
    /// What the platform ended it for, as in "did not listen on port 8080 within 60 s".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_because: Option<String>,
    /// How long it ran, in milliseconds.
    pub millis: u64,
    /// The last lines it printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

impl ExitReason {
    /// The exit code that a shell would show: 128 and the signal's number where a signal ended it.
    pub fn shell_code(&self) -> i32 {
        self.code.or_else(|| self.signal.map(|signal| 128 + signal)).unwrap_or(255)
    }

    /// How long it ran.
    pub fn ran(&self) -> Duration {
        Duration::from_millis(self.millis)
    }

    /// The exit in words, as in "exit 137, out of memory (128 MB)".
    pub fn text(&self) -> String {
        let code = self.shell_code();
        if let Some(bytes) = self.memory_limit {
            return format!("exit {code}, out of memory ({})", limit(bytes));
        }
        if let Some(bytes) = self.disk_limit {
            return format!("exit {code}, disk full ({})", limit(bytes));
        }
        if let Some(why) = &self.ended_because {
            return why.clone();
        }
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => match signal_name(signal) {
                Some(name) => format!("ended by {name}"),
                None => format!("ended by signal {signal}"),
            },
            (None, None) => "ended for an unknown reason".to_owned(),
        }
    }
}

/// A limit in the unit that it was set in: powers of two where it is one of them.
pub(crate) fn limit(bytes: u64) -> String {
    match bytes {
        _ if bytes > 0 && bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ => hythe_model::render::size(bytes),
    }
}

/// The name of a signal of Linux on x86-64 and arm64 that ends processes.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_reads_as_people_say_it() {
        let exit = |code, signal| ExitReason { code, signal, ..ExitReason::default() };
        assert_eq!(exit(Some(1), None).text(), "exit code 1");
        assert_eq!(exit(None, Some(11)).text(), "ended by SIGSEGV");
        assert_eq!(exit(None, Some(40)).text(), "ended by signal 40");
        let memory = ExitReason { memory_limit: Some(128_000_000), ..exit(None, Some(9)) };
        assert_eq!(memory.text(), "exit 137, out of memory (128.0 MB)");
        assert_eq!([limit(128 << 20), limit(2 << 30)], ["128 MiB", "2 GiB"]);
        assert_eq!(memory.shell_code(), 137);
    }
}
