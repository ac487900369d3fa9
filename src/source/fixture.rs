//! Repositories for the tests, built with git's plumbing so that no rule of git's own stands in the way.

use crate::{HookCommand, Repositories, RepositoryOptions, SourceLimits};
use hythe_model::{CommitId, ToolName};
use std::io::Write;
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) repositories: Repositories,
    pub(crate) tool: ToolName,
}

/// Modes as git writes them.
pub(crate) const FILE: &str = "100644";
pub(crate) const PROGRAM: &str = "100755";
pub(crate) const LINK: &str = "120000";
pub(crate) const FOLDER: &str = "040000";
pub(crate) const SUBMODULE: &str = "160000";

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(SourceLimits::default())
    }

    pub(crate) fn with(limits: SourceLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hook = HookCommand { program: "/bin/false".into(), args: Vec::new() };
        let options = RepositoryOptions { git: "/usr/bin/git".into(), hook, limits };
        let repositories = Repositories::open(folder.path().join("repos"), options).unwrap();
        let tool: ToolName = "weather".parse().unwrap();
        repositories.create(&tool).unwrap();
        Self { folder, repositories, tool }
    }

    /// Runs git in the repository with this input and gives what it prints.
    pub(crate) fn git(&self, args: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("git")
            .env("GIT_DIR", self.repositories.path(&self.tool))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(["-c", "user.name=Alice", "-c", "user.email=alice@example.org"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {args:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn blob(&self, content: &[u8]) -> String {
        self.git(&["hash-object", "-w", "--stdin"], content)
    }

    /// A tree of entries: mode, object, name.
    pub(crate) fn tree(&self, entries: &[(&str, &str, &[u8])]) -> String {
        let mut input = Vec::new();
        for (mode, object, name) in entries {
            let kind = match *mode {
                FOLDER => "tree",
                SUBMODULE => "commit",
                _ => "blob",
            };
            input.extend_from_slice(format!("{mode} {kind} {object}\t").as_bytes());
            input.extend_from_slice(name);
            input.push(0);
        }
        self.git(&["mktree", "-z", "--missing"], &input)
    }

    pub(crate) fn commit(&self, tree: &str, parents: &[&CommitId]) -> CommitId {
        let mut args = vec!["commit-tree", tree, "-m", "Say something"];
        for parent in parents {
            args.extend(["-p", parent.as_str()]);
        }
        self.git(&args, b"").parse().unwrap()
    }

    /// A commit of one file at a path whose parts are given as bytes.
    pub(crate) fn at(&self, path: &[&[u8]], mode: &str, content: &[u8]) -> CommitId {
        let mut object = self.blob(content);
        let mut mode = mode.to_owned();
        for name in path.iter().rev() {
            object = self.tree(&[(&mode, &object, name)]);
            mode = FOLDER.to_owned();
        }
        self.commit(&object, &[])
    }

    /// The id and details with which a commit is refused; none where it is taken.
    pub(crate) fn refusal(&self, commit: &CommitId) -> Option<(String, String)> {
        let fault = self.repositories.check(&self.tool, commit, None).err()?;
        assert!(fault.what.starts_with("The source was refused: ") && !fault.next.is_empty(), "{fault}");
        Some((fault.id, fault.why.join("\n")))
    }
}
