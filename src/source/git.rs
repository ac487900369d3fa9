//! The git program, started with an environment of our own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What git runs at the hooks of a push, with the hook's name as last argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCommand {
    /// The program, by absolute path.
    pub program: PathBuf,
    /// Its arguments before the hook's name.
    pub args: Vec<String>,
}

/// A service of git's wire protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// The first half of a push: the refs are told.
    Advertise,
    /// The second half: the client's commands and pack are read and answered.
    ReceivePack,
    /// A fetch, whole.
    UploadPack,
}

impl Service {
    /// The words after `git`.
    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Advertise => &["receive-pack", "--http-backend-info-refs", "--"],
            Self::ReceivePack => &["receive-pack", "--stateless-rpc", "--"],
            Self::UploadPack => &["upload-pack", "--"],
        }
    }
}

/// Address space of a git child that reads what a client sent, bytes. A few kilobytes of deltas unfold into gigabytes.
const MEMORY: u64 = 3 << 29;

/// A git that sees nothing of our environment and may use a bounded amount of memory.
pub(crate) fn bounded(program: &Path) -> Command {
    let mut command = clean(Path::new("prlimit"));
    command.arg(format!("--as={MEMORY}")).args(["--core=0", "--"]).arg(program);
    command
}

/// A git that sees nothing of our environment, of the machine's configuration or of a user's.
pub(crate) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()))
        .env("HOME", "")
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .current_dir("/");
    command
}
