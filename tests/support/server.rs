//! `hythed serve`, started as the platform's user on ports of its own.

use super::Ran;
use hythe_store::Store;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A running server. Dropping it stops it and everything in it, and removes its data.
pub(crate) struct Server {
    child: Option<Child>,
    folder: PathBuf,
    addresses: Value,
    token: String,
    /// A file system of its own, mounted here.
    disk: Option<PathBuf>,
    /// What it does, where several share the work; everything where empty.
    roles: String,
    /// What its log tells; the usual where empty.
    log: String,
}

/// The checkout's root.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").to_owned()
}

/// A program of the installation that `make build` lays out.
pub(crate) fn program(name: &str) -> PathBuf {
    let prefix =
        std::env::var_os("HYTHE_PREFIX").expect("HYTHE_PREFIX is not set: run the tests by `make test`");
    let path = PathBuf::from(prefix).join("bin").join(name);
    assert!(path.exists(), "{} is missing: run the tests by `make test`", path.display());
    path
}

/// The start of a command that is run as the platform's user.
fn as_hythe() -> Command {
    Command::new(checkout().join("scripts/as-hythe"))
}

impl Server {
    /// Starts a server with these lines added to its configuration.
    pub(crate) fn start(name: &str, extra: &str) -> Self {
        let mut server = Self::prepared(name, extra);
        server.begin();
        server
    }

    /// The first start, whose token is kept.
    pub(crate) fn begin(&mut self) {
        self.spawn();
        let log = self.log();
        let token = log
            .lines()
            .find_map(|line| line.trim().strip_prefix("Admin token"))
            .expect("a first run's token");
        token.split_whitespace().next().expect("a token").clone_into(&mut self.token);
    }

    /// Starts a server that shares the work with another one, whose administrator's token is its own too.
    pub(crate) fn joined(name: &str, extra: &str, roles: &str, token: &str) -> Self {
        let mut server = Self::prepared(name, extra);
        server.set_roles(roles);
        token.clone_into(&mut server.token);
        server.spawn();
        server
    }

    /// Says what it does from its next start on.
    pub(crate) fn set_roles(&mut self, roles: &str) {
        roles.clone_into(&mut self.roles);
    }

    /// The address of a front, where it has that one.
    pub(crate) fn front(&self, front: &str) -> Option<String> {
        self.addresses[front].as_str().map(str::to_owned)
    }

    /// Starts a server on a folder that is restored from a backup; the administrator's token is the old one.
    pub(crate) fn restored(name: &str, backup: &Path, token: &str) -> Self {
        let mut server = Self::prepared(name, "");
        server.hythed(&["restore", backup.to_str().expect("a path")]).ok();
        token.clone_into(&mut server.token);
        server.spawn();
        server
    }

    /// Starts a server whose data lies on a file system of its own, of so many bytes. Only root can make one.
    pub(crate) fn on_small_disk(name: &str, bytes: u64) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this story mounts a small disk: run the tests as root");
        let mut server = Self::prepared(name, "");
        let (image, data) = (server.folder.join("disk.img"), server.folder.join("data"));
        File::create(&image).and_then(|file| file.set_len(bytes)).expect("an image");
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&data));
        server.disk = Some(data.clone());
        run(Command::new("rmdir").arg(data.join("lost+found")));
        run(Command::new("chown").arg("hythe:hythe").arg(&data));
        server.begin();
        server
    }

    /// Fills the server's disk up to so many bytes; the file that does it.
    pub(crate) fn fill_disk(&self, left: u64) -> PathBuf {
        let disk = self.disk.as_ref().expect("a small disk");
        let filler = disk.join("filler");
        let free = nix::sys::statvfs::statvfs(disk).expect("a file system");
        let bytes = (free.blocks_available() * free.fragment_size()).saturating_sub(left);
        run(Command::new("fallocate").args(["-l", &bytes.to_string()]).arg(&filler));
        filler
    }

    /// A file of the data folder, read as the platform's user.
    pub(crate) fn read_data(&self, file: &str) -> String {
        Ran::from(as_hythe().arg("cat").arg(self.folder.join("data").join(file)).output().expect("cat"))
            .ok()
            .out
    }

    pub(crate) fn prepared(name: &str, extra: &str) -> Self {
        let folder = PathBuf::from(format!("/var/tmp/hythe-test-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("data")).expect("a folder");
        let cache = std::env::var("HYTHE_STACK_CACHE").unwrap_or_default();
        let config = format!(
            "[ssh]\nlisten = \"127.0.0.1:0\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
             [router]\nlisten = \"127.0.0.1:0\"\n[stacks]\ncache_dir = \"{cache}\"\n{extra}"
        );
        fs::write(folder.join("hythe.toml"), config).expect("a configuration");
        let server = Self {
            child: None,
            folder,
            addresses: Value::Null,
            token: String::new(),
            disk: None,
            roles: String::new(),
            log: String::new(),
        };
        Self::own(&server.folder);
        server
    }

    /// Gives a folder to the platform's user.
    pub(crate) fn own(path: &Path) {
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown").arg("-R").arg("hythe:hythe").arg(path));
        }
    }

    /// Changes rows while the server does not run.
    pub(crate) fn change_rows<F: Future<Output = anyhow::Result<()>>>(
        &self,
        change: impl FnOnce(Store) -> F,
    ) {
        let data = self.folder.join("data");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let changing = async { change(Store::open(&data.join("hythe.db")).await?).await };
        runtime.block_on(changing).expect("rows are changed");
        for file in fs::read_dir(&data).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hythe.db")) {
                Self::own(&file);
            }
        }
    }

    /// Says what its log tells from its next start on.
    pub(crate) fn set_log(&mut self, filter: &str) {
        filter.clone_into(&mut self.log);
    }

    /// Writes the addresses that it got into its configuration, where no helper keeps them for the next start.
    pub(crate) fn pin(&self) {
        let path = self.folder.join("hythe.toml");
        let mut config = fs::read_to_string(&path).expect("a configuration");
        for front in ["ssh", "api", "router"] {
            let any = format!("[{front}]\nlisten = \"127.0.0.1:0\"");
            config = config.replace(&any, &format!("[{front}]\nlisten = \"{}\"", self.address(front)));
        }
        fs::write(path, config).expect("a configuration");
    }

    /// Starts the program and waits until it says where it listens.
    pub(crate) fn spawn(&mut self) {
        let ready = self.folder.join("data/run/addresses.json");
        let _ = fs::remove_file(&ready);
        let log =
            File::options().append(true).create(true).open(self.folder.join("server.log")).expect("a log");
        let mut command = as_hythe();
        command.arg(program("hythed")).arg("serve").args(self.place());
        if !self.log.is_empty() {
            command.env("HYTHE_LOG", &self.log);
        }
        if !self.roles.is_empty() {
            command.args(["--roles", &self.roles]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.child = Some(command.spawn().expect("hythed starts"));
        let deadline = Instant::now() + Duration::from_mins(10);
        loop {
            if let Some(addresses) = fs::read(&ready).ok().and_then(|text| serde_json::from_slice(&text).ok())
            {
                self.addresses = addresses;
                return;
            }
            let ended = self.child.as_mut().expect("a child").try_wait().expect("a status");
            assert!(ended.is_none(), "hythed ended: {ended:?}\n{}", self.log());
            assert!(Instant::now() < deadline, "hythed did not get ready\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Drains the server and waits for its end; tools run on.
    pub(crate) fn stop(&mut self) {
        self.hythed(&["stop"]).ok();
        self.child.take().expect("a running server").wait().expect("wait");
    }

    /// The same, and ends its tools too.
    pub(crate) fn stop_all(&mut self) {
        self.hythed(&["stop", "--all"]).ok();
        self.child.take().expect("a running server").wait().expect("wait");
    }

    /// Where its configuration and its data are.
    fn place(&self) -> [PathBuf; 4] {
        ["--config".into(), self.folder.join("hythe.toml"), "--data".into(), self.folder.join("data")]
    }

    /// Runs another verb of the program on this server's folder.
    pub(crate) fn hythed(&self, args: &[&str]) -> Ran {
        let mut command = as_hythe();
        let (verb, rest) = args.split_first().expect("a verb");
        command.arg(program("hythed")).arg(verb).args(self.place()).args(rest);
        command.output().expect("hythed runs").into()
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> String {
        self.child.as_ref().expect("a running server").id().to_string()
    }

    /// Ends the server at once, as a power cut would, and leaves its data.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("a running server");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// What the server wrote to its standard output and error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// The address of a front: `ssh`, `api` or `router`.
    pub(crate) fn address(&self, front: &str) -> &str {
        self.addresses[front]
            .as_str()
            .unwrap_or_else(|| panic!("no address of {front} in {}", self.addresses))
    }

    /// The admin's token of the first run.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The folder that holds configuration, data and the clients' homes.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The server's SSH host key as `known_hosts` has it.
    pub(crate) fn host_key(&self) -> String {
        self.hythed(&["host-key"]).ok().out.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hythed(&["stop", "--all"]);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let _ = self.disk.as_ref().map(|disk| Command::new("umount").arg("-l").arg(disk).status());
            eprintln!("the server's data and log stay at {}", self.folder.display());
        } else {
            self.hythed(&["wipe", "--yes"]);
            let _ = self.disk.as_ref().map(|disk| Command::new("umount").arg("-l").arg(disk).status());
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Runs a command that must end well.
fn run(command: &mut Command) {
    Ran::from(command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))).ok();
}

/// The server that gentle stories share. Nothing runs when a test program ends, so a process that outlives it cleans up.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<(Server, Child)> = OnceLock::new();
    let (server, _cleaner) = SHARED.get_or_init(|| {
        let server = Server::start("shared", "");
        let script = "tail --pid=$1 -f /dev/null; \"$2\" \"$3\" stop --all --data \"$4/data\"
            \"$2\" \"$3\" wipe --yes --data \"$4/data\"; rm -rf \"$4\"";
        let mut cleaner = Command::new("setsid");
        cleaner.args(["sh", "-c", script, "sh", &std::process::id().to_string()]);
        cleaner.arg(checkout().join("scripts/as-hythe")).arg(program("hythed")).arg(&server.folder);
        cleaner.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        (server, cleaner.spawn().expect("a cleaner"))
    });
    server
}
