//! A helper of its own for each test, with a root file system made from busybox.

use hythe_sandbox::{
    Egress, Exit, Helper, HelperOptions, Limits, Network, Process, RelPath, Root, Sandbox, SandboxSpec, Stdio,
};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time for one test, so that a sandbox that hangs fails instead of waiting for ever.
const TEST_TIMEOUT: Duration = Duration::from_mins(2);

/// Runs a test as the user `hythe`: by itself, or as root by running this program again as that user.
pub(crate) fn as_hythe<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F) {
    if rustix::process::geteuid().is_root() {
        let program = std::env::current_exe().unwrap();
        let status = std::process::Command::new("setpriv")
            .args(["--reuid=hythe", "--regid=hythe", "--init-groups", "--inh-caps=-all"])
            .arg(program)
            .args(["--exact", name, "--nocapture"])
            .env("HOME", "/var/lib/hythe")
            .status()
            .expect("setpriv starts; prepare the machine by scripts/prepare");
        assert!(status.success(), "{name} failed as the user hythe");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(TEST_TIMEOUT, test()).await.expect("the test takes too long");
    });
}

/// A helper in a folder of its own.
pub(crate) struct World {
    pub(crate) helper: Helper,
    pub(crate) options: HelperOptions,
    pub(crate) folder: PathBuf,
    pub(crate) lowers: Vec<RelPath>,
}

impl World {
    pub(crate) async fn new(name: &str) -> Self {
        let folder = PathBuf::from(format!("/var/tmp/hythe-sandbox-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_hythe-sandbox"));
        let options = HelperOptions::new(program, folder.join("ns"), folder.join("s.sock"));
        let helper = Helper::open(options.clone()).await.unwrap();
        let lowers = vec![path("layers/base"), path("layers/seed")];
        let world = Self { helper, options, folder, lowers };
        world.make_base().await;
        world
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Busybox with a link for each of its programs, put there by itself.
    async fn make_base(&self) {
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        let (seed, base) = (path("layers/seed"), path("layers/base"));
        for dir in ["bin", "tmp", "etc", "proc", "sys", "dev", "work"] {
            self.helper.make_dir(&seed.join(dir).unwrap(), (0, 0), 0o755).await.unwrap();
        }
        self.helper.make_dir(&seed.join("tmp").unwrap(), (0, 0), 0o1777).await.unwrap();
        self.helper.write(&seed.join("bin/busybox").unwrap(), busybox, (0, 0), 0o755).await.unwrap();
        let mut spec = self.spec("setup", &["/bin/busybox", "--install", "-s", "/bin"]);
        spec.root = Root { lowers: vec![seed], upper: base, read_only: false };
        (spec.process.uid, spec.process.gid) = (0, 0);
        let sandbox = self.helper.run(spec, to_null()).await.unwrap();
        let exit = sandbox.wait().await.unwrap();
        assert!(exit.success(), "{exit:?}");
    }

    /// A spec for a program in the base, as user 1000.
    pub(crate) fn spec(&self, id: &str, args: &[&str]) -> SandboxSpec {
        SandboxSpec {
            id: id.into(),
            labels: BTreeMap::from([("test".to_owned(), id.to_owned())]),
            root: Root {
                lowers: self.lowers.clone(),
                upper: path(&format!("instances/{id}")),
                read_only: false,
            },
            mounts: Vec::new(),
            process: Process {
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                env: vec![("GREETING".into(), "hello".into())],
                cwd: "/".into(),
                uid: 1000,
                gid: 1000,
            },
            hostname: "box".into(),
            limits: Limits { memory_bytes: 64 << 20, pids: 64, ..Limits::default() },
            network: Network::None,
        }
    }

    /// A spec for a shell script.
    pub(crate) fn script(&self, id: &str, script: &str) -> SandboxSpec {
        self.spec(id, &["/bin/sh", "-c", script])
    }

    /// Runs to the end; the output of both streams.
    pub(crate) async fn run(&self, spec: SandboxSpec) -> (Exit, String) {
        let (stdio, mut output) = to_pipe();
        let sandbox = self.helper.run(spec, stdio).await.unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let exit = sandbox.wait().await.unwrap();
        let text = reader.join().unwrap();
        sandbox.release().await.unwrap();
        (exit, text)
    }

    /// Starts and leaves running, output dropped.
    pub(crate) async fn start(&self, spec: SandboxSpec) -> Sandbox {
        self.helper.run(spec, to_null()).await.unwrap()
    }

    /// A new helper after the death of the old one.
    pub(crate) async fn reopen(&mut self) {
        self.helper = Helper::open(self.options.clone()).await.unwrap();
    }

    /// Ends everything and removes the folder.
    pub(crate) async fn end(self) {
        for sandbox in self.helper.list().await.unwrap() {
            self.helper.attach(&sandbox.id).await.unwrap().unwrap().release().await.unwrap();
        }
        for name in ["layers", "instances", "builds"] {
            self.helper.remove(&path(name)).await.unwrap();
        }
        self.helper.shutdown().await.unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

impl Drop for World {
    /// A test that fails leaves its folder to be looked at, but nothing that runs.
    fn drop(&mut self) {
        for pid in processes(self.options.socket.to_str().unwrap_or_default()) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

/// Processes of this machine whose command line contains `needle`, this one excepted.
pub(crate) fn processes(needle: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let matches = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pid.cast_unsigned() != std::process::id() && String::from_utf8_lossy(&line).contains(needle)
    };
    pids.filter(matches).collect()
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

pub(crate) fn egress() -> Network {
    Network::Private { egress: Egress { enabled: true, ..Egress::default() } }
}

pub(crate) fn to_null() -> Stdio {
    let null = || OwnedFd::from(File::options().write(true).open("/dev/null").unwrap());
    Stdio::Fds { stdin: None, stdout: null(), stderr: null() }
}

/// Both streams into one pipe, and its reading end.
pub(crate) fn to_pipe() -> (Stdio, File) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stderr = write.try_clone().unwrap();
    (Stdio::Fds { stdin: None, stdout: write, stderr }, File::from(read))
}
