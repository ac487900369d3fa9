//! What a hook and the server say to each other: one JSON object a line over the hook socket.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Names the socket in the environment of git.
pub(crate) const SOCKET: &str = "HYTHE_HOOK_SOCKET";
/// Names the push in the environment of git.
pub(crate) const TOKEN: &str = "HYTHE_HOOK_TOKEN";

/// Which hook calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HookKind {
    PreReceive,
    ProcReceive,
}

/// One ref that a push wants to change, as git writes it: zeros for "not there".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Update {
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) reference: String,
}

/// The hook's one line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) token: String,
    pub(crate) hook: HookKind,
    pub(crate) updates: Vec<Update>,
    pub(crate) options: Vec<String>,
    /// Where the objects are, in `pre-receive`.
    pub(crate) quarantine: Option<PathBuf>,
    /// Whether all refs move or none, in `proc-receive`.
    pub(crate) atomic: bool,
}

/// One line of the server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// A line for the client's screen.
    Line(String),
    /// The end: what becomes of each ref. Empty for `pre-receive`, which lets git go on.
    Verdicts(Vec<Verdict>),
}

/// What becomes of one ref.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) reference: String,
    pub(crate) end: End,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    /// The ref has moved as asked.
    Moved,
    /// Another ref was made instead.
    Instead { reference: String, new: String },
    /// Refused, with the reason that git shows in brackets.
    Refused(String),
}

/// The most bytes that a line between hook and server may have.
pub(crate) const LONGEST_LINE: u64 = 4 << 20;
