//! A server on a port of its own, with keys, a tool and clients.

use super::handler::{Deploys, Directory};
use hythe_model::ToolName;
use hythe_source::{HookCommand, Repositories, RepositoryOptions, SourceLimits};
use hythe_ssh::{HostKey, SshLimits, SshParts};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a test may choose.
#[derive(Default)]
pub(crate) struct Choice {
    pub(crate) source: SourceLimits,
    pub(crate) ssh: SshLimits,
    pub(crate) allow_force: bool,
}

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    pub(crate) repositories: Repositories,
    pub(crate) deploys: Arc<Deploys>,
    pub(crate) shutdown: CancellationToken,
    _stop: DropGuard,
}

/// The maintainer's key file.
pub(crate) const MAINTAINER: &str = "alice";
/// A key that nobody has registered.
pub(crate) const STRANGER: &str = "mallory";
/// A deploy key of `weather`: may push, not fetch.
pub(crate) const DEPLOY: &str = "deploy";

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Choice::default()).await
    }

    pub(crate) async fn with(choice: Choice) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in [MAINTAINER, STRANGER, DEPLOY] {
            let status = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(folder.path().join(name))
                .status();
            assert!(status.unwrap().success());
        }
        let hook = HookCommand { program: env!("CARGO_BIN_EXE_hythe-test-hook").into(), args: Vec::new() };
        let options = RepositoryOptions { git: "/usr/bin/git".into(), hook, limits: choice.source };
        let repositories = Repositories::open(folder.path().join("repos"), options).unwrap();
        repositories.create(&tool()).unwrap();
        let deploys = Arc::new(Deploys::new(repositories.clone(), choice.allow_force));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let parts = SshParts {
            keys: Arc::new(Directory::read(folder.path())),
            pushes: Arc::clone(&deploys) as _,
            repositories: repositories.clone(),
            host_key: HostKey::open_or_create(&folder.path().join("host_key")).unwrap(),
            hook_socket: folder.path().join("hook.sock"),
            limits: choice.ssh,
        };
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { hythe_ssh::serve(listener, parts, stop).await.unwrap() });
        // Its file is there a moment before it is listened at.
        while UnixStream::connect(folder.path().join("hook.sock")).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Self { folder, port, repositories, deploys, _stop: shutdown.clone().drop_guard(), shutdown }
    }

    pub(crate) fn url(&self, tool: &str) -> String {
        format!("ssh://hythe@127.0.0.1:{}/{tool}", self.port)
    }

    /// The ssh command of a client that holds this key.
    pub(crate) fn ssh(&self, key: &str) -> String {
        let key = self.folder.path().join(key);
        format!(
            "ssh -F /dev/null -i {} -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o LogLevel=INFO \
             -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
            key.display()
        )
    }

    /// An empty clone with one commit on `main`, its remote set.
    pub(crate) fn clone_here(&self, name: &str) -> Clone {
        let path = self.folder.path().join(name);
        let clone = Clone { path: path.clone(), ssh: self.ssh(MAINTAINER) };
        assert!(
            Command::new("git").args(["init", "-q", "-b", "main"]).arg(&path).status().unwrap().success()
        );
        clone.git(&["remote", "add", "hythe", &self.url("weather")]);
        clone.commit("app.py", "print('hello')\n");
        clone
    }

    pub(crate) fn main(&self) -> Option<String> {
        self.repositories.reference(&tool(), "refs/heads/main").unwrap().map(|commit| commit.to_string())
    }

    /// Objects that the repository holds on disk, reachable or not.
    pub(crate) fn objects(&self) -> usize {
        let listed = Command::new("git")
            .env("GIT_DIR", self.repositories.path(&tool()))
            .args(["cat-file", "--batch-all-objects", "--batch-check"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&listed.stdout).lines().count()
    }

    /// Runs ssh itself, without a command where `words` is empty.
    pub(crate) async fn run_ssh(&self, options: &[&str], words: &[&str]) -> Said {
        let ssh = self.ssh(MAINTAINER);
        let mut command = tokio::process::Command::new("sh");
        let port = self.port.to_string();
        command
            .arg("-c")
            .arg(format!("exec {ssh} \"$@\""))
            .arg("ssh")
            .args(options)
            .args(["-p", &port, "hythe@127.0.0.1"])
            .args(words);
        said(command.stdin(Stdio::null()).output().await.unwrap())
    }
}

pub(crate) fn tool() -> ToolName {
    "weather".parse().unwrap()
}

/// A client's clone.
pub(crate) struct Clone {
    pub(crate) path: PathBuf,
    pub(crate) ssh: String,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

pub(crate) fn said(output: Output) -> Said {
    let text = [output.stdout, output.stderr].concat();
    Said { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
}

impl Clone {
    pub(crate) fn with_key(mut self, world: &World, key: &str) -> Self {
        self.ssh = world.ssh(key);
        self
    }

    /// A git command of this clone.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        // As at a terminal: what starts the tests may have Ctrl-C ignored, and children inherit that.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT", "git", "-C"])
            .arg(&self.path)
            .args(["-c", "user.name=Alice", "-c", "user.email=alice@example.org"])
            .args(args);
        command
            .env("GIT_SSH_COMMAND", &self.ssh)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Runs git locally and gives what it prints; it must succeed.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let said = said(self.command(args).output().unwrap());
        assert_eq!(said.code, Some(0), "git {args:?}: {}", said.text);
        said.text.trim().to_owned()
    }

    /// Writes a file, commits and names the commit.
    pub(crate) fn commit(&self, file: &str, content: &str) -> String {
        let path = self.path.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, content).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", &format!("Change {file}")]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git against the server.
    pub(crate) async fn remote(&self, args: &[&str]) -> Said {
        said(tokio::process::Command::from(self.command(args)).output().await.unwrap())
    }

    pub(crate) async fn push(&self) -> Said {
        self.remote(&["push", "hythe", "main"]).await
    }
}
