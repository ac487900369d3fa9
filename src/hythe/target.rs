//! The tool that is meant where no flag names one: that of `HYTHE_TOOL`, or of the current folder's git remote `hythe`.

use crate::failure::Failure;
use hythe_model::ToolName;
use std::process::{Command, Stdio};

/// The name of the git remote that belongs to the platform.
pub(crate) const REMOTE: &str = "hythe";

/// The tool that `HYTHE_TOOL` names; an empty one counts as unset.
pub(crate) fn of_environment() -> Option<Result<ToolName, Failure>> {
    let name = std::env::var_os("HYTHE_TOOL").filter(|name| !name.is_empty())?;
    let refused = |error: hythe_model::NameError| {
        Failure::usage("no-tool", "HYTHE_TOOL names no tool.")
            .why(error.to_string())
            .next("Name the tool: --tool NAME")
    };
    Some(name.to_string_lossy().parse().map_err(refused))
}

/// The tool of the git remote `hythe`.
pub(crate) fn of_current_folder() -> Result<ToolName, Failure> {
    let Some(url) = remote_url() else {
        return Err(Failure::usage(
            "no-tool",
            "No tool is named, and this folder has no git remote `hythe`.",
        )
        .next("Name it: --tool NAME")
        .next("or make one for this folder: hythe tools create NAME"));
    };
    tool_of(&url).ok_or_else(|| {
        Failure::usage("no-tool", "The git remote `hythe` of this folder names no tool.")
            .why(format!("It is {url}"))
            .next("Name the tool: --tool NAME")
    })
}

/// The URL of the remote `hythe` of the current folder.
pub(crate) fn remote_url() -> Option<String> {
    git(&["remote", "get-url", REMOTE]).filter(|url| !url.is_empty())
}

/// Whether the current folder is inside a git work tree.
pub(crate) fn in_git() -> bool {
    git(&["rev-parse", "--is-inside-work-tree"]).as_deref() == Some("true")
}

/// The branch checked out, one without a commit too.
pub(crate) fn branch() -> Option<String> {
    git(&["symbolic-ref", "--short", "HEAD"])
}

/// Adds the remote `hythe`.
pub(crate) fn add_remote(url: &str) -> bool {
    git(&["remote", "add", REMOTE, url]).is_some()
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// The last part of an SSH URL or of git's short form `host:path`.
fn tool_of(url: &str) -> Option<ToolName> {
    let path = match url.split_once("://") {
        Some(("ssh" | "git+ssh" | "ssh+git", rest)) => rest.split_once('/')?.1,
        Some(_) => return None,
        None => url.split_once(':')?.1,
    };
    let name = path.trim_matches('/');
    name.strip_suffix(".git").unwrap_or(name).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_read_from_remotes() {
        let name = |url: &str| tool_of(url).map(String::from);
        for url in [
            "ssh://hythe@hythe.example.org/weather",
            "ssh://hythe@localhost:2222/weather.git",
            "ssh://[::1]:2222/weather",
            "hythe@hythe.example.org:weather",
            "hythe.example.org:/weather.git",
        ] {
            assert_eq!(name(url).as_deref(), Some("weather"), "{url}");
        }
        for url in ["https://host/weather", "/srv/weather.git", "ssh://host", "host:a/b", "host:console", ""]
        {
            assert_eq!(name(url), None, "{url}");
        }
    }
}
