//! The program's arguments, which only the client writes.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the program is to do.
pub(super) enum Command {
    /// Go into the background and serve.
    Serve(Options),
    /// Try every capability, print what was found and end.
    Try(Options),
}

/// Where things are.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) root: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) runc: PathBuf,
    pub(super) pasta: PathBuf,
    pub(super) nft: PathBuf,
    pub(super) cgroup: String,
    pub(super) require_cgroups: bool,
}

const USAGE: &str = "hythe-sandbox is started by hythed; it has no use by hand.\n\
    usage: hythe-sandbox serve|try --root DIR --socket PATH [--runc PATH] [--pasta PATH] [--nft PATH] [--cgroup NAME] [--without-cgroups]";

/// Reads the arguments.
pub(super) fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let usage = || USAGE.to_owned();
    let verb = args.next().ok_or_else(usage)?;
    let mut options = Options {
        root: PathBuf::new(),
        socket: PathBuf::new(),
        runc: "runc".into(),
        pasta: "pasta".into(),
        nft: "nft".into(),
        cgroup: "hythe".into(),
        require_cgroups: true,
    };
    while let Some(name) = args.next() {
        if name == "--without-cgroups" {
            options.require_cgroups = false;
            continue;
        }
        let value = args.next().ok_or_else(usage)?;
        match name.to_str() {
            Some("--root") => options.root = value.into(),
            Some("--socket") => options.socket = value.into(),
            Some("--runc") => options.runc = value.into(),
            Some("--pasta") => options.pasta = value.into(),
            Some("--nft") => options.nft = value.into(),
            Some("--cgroup") => options.cgroup = value.into_string().map_err(|_| usage())?,
            _ => return Err(usage()),
        }
    }
    if !options.root.is_absolute() || !options.socket.is_absolute() {
        return Err(format!("--root and --socket must be absolute\n{USAGE}"));
    }
    match verb.to_str() {
        Some("serve") => Ok(Command::Serve(options)),
        Some("try") => Ok(Command::Try(options)),
        _ => Err(usage()),
    }
}
