//! The one line that a client may ask for, read without a shell.

use hythe_model::ToolName;
use hythe_source::Service;

/// A git command on a tool's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitCommand {
    pub(crate) service: Service,
    pub(crate) tool: ToolName,
}

/// The longest command that is looked at.
const LONGEST: usize = 1000;

impl GitCommand {
    /// Reads `git-receive-pack '<tool>'` or `git-upload-pack '<tool>'`, in the spellings that git clients use.
    /// The error is a line for the client.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        let only = "Hythe serves git push and git fetch only: there is no shell and no other command.";
        let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= LONGEST).ok_or(only)?;
        let (program, rest) = match text.split_once(' ').ok_or(only)? {
            ("git", rest) => rest.trim_start().split_once(' ').ok_or(only)?,
            (program, rest) => (program.strip_prefix("git-").ok_or(only)?, rest),
        };
        let service = match program {
            "receive-pack" => Service::ReceivePack,
            "upload-pack" => Service::UploadPack,
            _ => return Err(only.to_owned()),
        };
        let path = unquote(rest.trim()).ok_or(only)?;
        let name = path.trim_start_matches('/').trim_end_matches('/');
        let name = name.strip_suffix(".git").unwrap_or(name);
        match name.parse::<ToolName>() {
            Ok(tool) => Ok(Self { service, tool }),
            Err(_) => {
                Err("There is no such tool: the address ends in the tool's name, as in ssh://host/weather."
                    .to_owned())
            }
        }
    }
}

/// A single word, bare or in single quotes. Git quotes paths whole; a quote within cannot be part of a tool's name.
fn unquote(text: &str) -> Option<&str> {
    let inner = match text.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\'')?,
        None => text,
    };
    let plain = !inner.is_empty()
        && !inner.contains(|c: char| c.is_whitespace() || "'\"\\$`;&|<>(){}*?~!#".contains(c));
    plain.then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_of_git_are_read() {
        for line in [
            "git-receive-pack 'weather'",
            "git-receive-pack '/weather'",
            "git-receive-pack 'weather.git'",
            "git-receive-pack '/weather.git/'",
            "git-receive-pack weather",
            "git receive-pack '/weather'",
        ] {
            let command = GitCommand::parse(line.as_bytes()).unwrap();
            assert_eq!((command.service, command.tool.as_str()), (Service::ReceivePack, "weather"), "{line}");
        }
        assert_eq!(GitCommand::parse(b"git-upload-pack 'a'").unwrap().service, Service::UploadPack);
    }

    #[test]
    fn everything_else_is_refused_in_one_line() {
        for line in [
            "",
            "ls",
            "git-receive-pack",
            "git-receive-pack ",
            "git-upload-archive 'weather'",
            "git-receive-pack '../weather'",
            "git-receive-pack 'a' 'b'",
            "git-receive-pack 'a'; id",
            "git-receive-pack $(id)",
            "git-receive-pack '-x'",
            "git-receive-pack --strict 'a'",
            "scp -t /",
            "git-receive-pack 'a'\\''b'",
            "git-receive-pack 'a",
            "sh -c id",
            "git-receive-pack '.hooks'",
            "git-receive-pack 'a/b'",
            "git-receive-pack\t'a'",
            "git-receive-pack 'A'",
        ] {
            let refusal = GitCommand::parse(line.as_bytes()).unwrap_err();
            assert!(!refusal.contains('\n') && refusal.ends_with('.'), "{line}: {refusal}");
        }
        assert!(GitCommand::parse(&[b'a'; 2000]).is_err() && GitCommand::parse(b"\xff\xff").is_err());
    }
}
