//! A maintainer at a terminal: stock `git` and `ssh`, the `hythe` CLI, and a browser's requests.

use super::server::{Server, checkout, program};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A maintainer with a home of their own.
pub(crate) struct Client<'a> {
    server: &'a Server,
    home: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit code; -1 where a signal ended it.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// What a command that ran in the background has said, once it has ended.
    pub(crate) fn ended(child: Child) -> Self {
        child.wait_with_output().expect("it ends").into()
    }

    /// Itself, where it ended well; a panic with all it said otherwise.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Itself, where it failed.
    #[track_caller]
    pub(crate) fn failed(self) -> Self {
        assert_ne!(self.code, 0, "\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Itself, where its standard error has this text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no `{text}` in\n{}", self.err);
        self
    }
}

/// An answer of the router.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: String,
}

impl<'a> Client<'a> {
    /// A maintainer with a key of their own that the platform knows, logged in by the CLI.
    pub(crate) fn new(server: &'a Server, name: &str) -> Self {
        let client = Self::stranger(server, name);
        let login = ["login", &format!("http://{}", server.address("api")), "--token", server.token()];
        client.hythe(&login).ok();
        client.add_own_key();
        client
    }

    /// Tells the platform this maintainer's key.
    pub(crate) fn add_own_key(&self) {
        self.hythe(&["keys", "add", self.home.join("key.pub").to_str().expect("a path")]).ok();
    }

    /// The same maintainer, after the server was started again.
    pub(crate) fn again(server: &'a Server, name: &str) -> Self {
        Self { server, home: home_of(server, name) }
    }

    /// The same maintainer, on a server that was restored from the backup of theirs.
    pub(crate) fn moved(server: &'a Server, from: &Client<'_>, name: &str) -> Self {
        let home = home_of(server, name);
        let copied = Command::new("cp").arg("-R").arg(&from.home).arg(&home).status().expect("cp");
        assert!(copied.success());
        let client = Self { server, home };
        client.know_the_host();
        client
            .hythe(&["login", &format!("http://{}", server.address("api")), "--token", server.token()])
            .ok();
        let remotes = fs::read_dir(&client.home).expect("a home").filter_map(Result::ok);
        for repository in remotes.filter(|entry| entry.path().join(".git").exists()) {
            let name = repository.file_name().into_string().expect("a name");
            let url = format!("ssh://{}/{name}", server.address("ssh"));
            client.git(&name, &["remote", "set-url", "hythe", &url]).ok();
        }
        client
    }

    /// Somebody with a key that the platform does not know.
    pub(crate) fn stranger(server: &'a Server, name: &str) -> Self {
        let home = home_of(server, name);
        fs::create_dir_all(&home).expect("a home");
        let keygen = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"];
        let made =
            Command::new("ssh-keygen").args(keygen).arg(home.join("key")).status().expect("ssh-keygen");
        assert!(made.success());
        let client = Self { server, home };
        client.know_the_host();
        client
    }

    fn know_the_host(&self) {
        let (host, port) = self.server.address("ssh").rsplit_once(':').expect("an address");
        let known = format!("[{host}]:{port} {}\n", self.server.host_key());
        fs::write(self.home.join("known_hosts"), known).expect("known hosts");
    }

    /// Waits until a tool has this many builds, the newest past its start.
    pub(crate) fn wait_for_build(&self, tool: &str, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let text = self.hythe(&["builds", "list", "-t", tool, "--json"]).ok().out;
            let builds: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let list = builds.as_array().or_else(|| builds["builds"].as_array()).expect("a list");
            if list.len() >= count && list[0]["state"] == "running" {
                return;
            }
            assert!(Instant::now() < deadline, "{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let home = self.home.display();
        // Not the folder that the tests run in: a verb may add its remote to the repository around it.
        command.current_dir(&self.home);
        command.env("HOME", &self.home).env("HYTHE_CONFIG_DIR", self.home.join("config"));
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_TERMINAL_PROMPT", "0").env("NO_COLOR", "1");
        command.env(
            "GIT_SSH_COMMAND",
            format!("ssh -i {home}/key -o IdentitiesOnly=yes -o UserKnownHostsFile={home}/known_hosts -o BatchMode=yes"),
        );
        for (role, variable) in [("AUTHOR", "NAME"), ("COMMITTER", "NAME")] {
            command.env(format!("GIT_{role}_{variable}"), "Robin");
            command.env(format!("GIT_{role}_EMAIL"), "robin@example.org");
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs the CLI.
    pub(crate) fn hythe(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(program("hythe")).args(args).output().expect("hythe runs"))
    }

    /// The CLI, to be run.
    pub(crate) fn hythe_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(program("hythe"));
        command.args(args);
        command
    }

    /// Runs the CLI with this on its standard input.
    pub(crate) fn hythe_with(&self, args: &[&str], input: &str) -> Ran {
        let mut command = self.hythe_command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("hythe runs");
        let (mut stdin, input) = (child.stdin.take().expect("a pipe"), input.to_owned());
        // Beside the reading: both may be more than fits into a pipe. Whether all of it is read is the command's choice.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let ran = Ran::ended(child);
        writer.join().expect("no panic");
        ran
    }

    /// Runs the CLI and sends it a signal once it has printed a first line.
    pub(crate) fn hythe_signalled(&self, args: &[&str], signal: Signal) -> Ran {
        let mut child = self.hythe_in_background(args);
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut text = String::new();
        out.read_line(&mut text).expect("a line");
        let pid = i32::try_from(child.id()).expect("a process id");
        nix::sys::signal::kill(Pid::from_raw(pid), signal).expect("it runs");
        out.read_to_string(&mut text).expect("text");
        let ran = Ran::ended(child);
        Ran { out: text, ..ran }
    }

    /// Asks the API by POST; the answer as text.
    pub(crate) fn post(&self, path: &str, body: &str) -> String {
        let token = format!("Authorization: Bearer {}", self.server.token());
        let url = format!("http://{}/api/v1{path}", self.server.address("api"));
        let words = ["-sS", "--max-time", "60", "-H", &token, "-H", "Content-Type: application/json"];
        let asked = Command::new("curl").args(words).args(["-d", body, &url]).output();
        Ran::from(asked.expect("curl runs")).ok().out
    }

    /// Starts the CLI and comes back at once.
    pub(crate) fn hythe_in_background(&self, args: &[&str]) -> Child {
        let mut command = self.command(program("hythe"));
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hythe runs")
    }

    /// Runs git in one of the maintainer's repositories.
    pub(crate) fn git(&self, repository: &str, args: &[&str]) -> Ran {
        Ran::from(self.git_command(repository, args).output().expect("git runs"))
    }

    /// Starts git and comes back at once, for what must be interrupted or overlap.
    pub(crate) fn git_in_background(&self, repository: &str, args: &[&str]) -> Child {
        let mut command = self.git_command(repository, args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("git runs")
    }

    fn git_command(&self, repository: &str, args: &[&str]) -> Command {
        let mut command = self.command("git");
        command.arg("-C").arg(self.home.join(repository)).args(args);
        command
    }

    /// The folder of a repository.
    pub(crate) fn folder(&self, repository: &str) -> PathBuf {
        self.home.join(repository)
    }

    /// Makes a tool on the platform, and a repository with a sample's files, one commit and the remote `hythe`.
    pub(crate) fn tool_from(&self, tool: &str, sample: &str) {
        let folder = self.home.join(tool);
        fs::create_dir_all(&folder).expect("a folder");
        self.git(tool, &["init", "-q", "-b", "main"]).ok();
        // Making a tool adds the remote to the repository that it is made in.
        let mut create = self.command(program("hythe"));
        Ran::from(create.current_dir(&folder).args(["tools", "create", tool]).output().expect("hythe runs"))
            .ok();
        copy(&checkout().join("tests/fixtures/apps").join(sample), &folder);
        self.commit(tool, "Begin");
    }

    /// Writes a file of a repository.
    pub(crate) fn write(&self, repository: &str, file: &str, text: &str) {
        let path = self.home.join(repository).join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
    }

    /// Commits everything; an empty commit where nothing changed.
    pub(crate) fn commit(&self, repository: &str, message: &str) {
        self.git(repository, &["add", "-A"]).ok();
        self.git(repository, &["commit", "-q", "--allow-empty", "-m", message]).ok();
    }

    /// Pushes the deploy branch.
    pub(crate) fn push(&self, repository: &str) -> Ran {
        self.git(repository, &["push", "hythe", "main"])
    }

    /// Asks the router for a tool's page.
    pub(crate) fn get(&self, tool: &str, path: &str) -> Answer {
        let host = format!("{tool}.localhost");
        let url = format!("http://{}{path}", self.server.address("router"));
        let ran = Ran::from(
            Command::new("curl")
                .args([
                    "-sS",
                    "--max-time",
                    "20",
                    "-H",
                    &format!("Host: {host}"),
                    "-w",
                    "\n%{http_code}",
                    &url,
                ])
                .output()
                .expect("curl runs"),
        )
        .ok();
        let (body, status) = ran.out.rsplit_once('\n').expect("a status");
        Answer { status: status.parse().expect("a status"), body: body.to_owned() }
    }

    /// Asks again until the answer is as wanted.
    #[track_caller]
    pub(crate) fn get_until(&self, tool: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.get(tool, "/");
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "still {answer:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn home_of(server: &Server, name: &str) -> PathBuf {
    server.folder().join(format!("home-{name}"))
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
