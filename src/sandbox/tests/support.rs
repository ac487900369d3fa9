//! A helper of its own for each test, with a root file system made from busybox.

use hythe_sandbox::{
    Egress, Exit, Helper, HelperOptions, Limits, Network, Process, RelPath, Root, Sandbox, SandboxSpec, Stdio,
};
pub(crate) use hythe_testing::{Bench, as_hythe, processes};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A helper, and a base for sandboxes.
pub(crate) struct World {
    pub(crate) helper: Helper,
    bench: Bench,
    pub(crate) lowers: Vec<RelPath>,
}

impl World {
    pub(crate) async fn new(name: &str) -> Self {
        let bench = Bench::new("sandbox", name).await;
        let lowers = vec![path("layers/base"), path("layers/seed")];
        let world = Self { helper: bench.helper.clone(), bench, lowers };
        world.make_base().await;
        world
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.bench.folder
    }

    pub(crate) fn options(&self) -> &HelperOptions {
        &self.bench.options
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
        self.helper = self.bench.reopened().await;
    }

    /// Ends everything and removes the folder.
    pub(crate) async fn end(self) {
        self.bench.end().await;
    }
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
