//! The server's side: a handle to the helper, and one to each sandbox.
//!
//! Enter at [`Helper::open`]. Every method is one request on a pooled connection. Dropping a future abandons the
//! answer, never the work: what was asked is done all the same. Only packing and unpacking end with whoever asked.

mod files;
mod guard;
mod pool;
mod sandbox;
mod start;
mod terminal;

pub use sandbox::Sandbox;
pub use terminal::Terminal;

use crate::wire::{self, Frame, Reply, Request, StdioPlan};
use crate::{Exit, HelperInfo, OverlayMount, RelPath, SandboxError, SandboxSpec, SandboxStatus, Stdio};
use hythe_model::TerminalSize;
use pool::Pool;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the helper's program, its folder and its socket are, and what it runs.
#[derive(Debug, Clone)]
pub struct HelperOptions {
    /// The program `hythe-sandbox`.
    pub program: PathBuf,
    /// The folder that the helper alone touches (`data/ns`); made when missing.
    pub root: PathBuf,
    /// Its socket (`data/run/sandbox.sock`); at most 100 bytes long. Its log lies beside it, ending in `.log`.
    pub socket: PathBuf,
    /// The program `runc`.
    pub runc: PathBuf,
    /// The program `pasta`.
    pub pasta: PathBuf,
    /// The program `nft`.
    pub nft: PathBuf,
    /// Name of the delegated cgroup folder (v1: below each controller; v2: below the root or the server's own).
    pub cgroup: String,
    /// Whether a sandbox is refused where no cgroup holds its limits.
    pub require_cgroups: bool,
}

impl HelperOptions {
    /// Options with the programs that are found in `PATH` or `/usr/sbin`, cgroups required, their folder `hythe`.
    pub fn new(program: impl Into<PathBuf>, root: impl Into<PathBuf>, socket: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            root: root.into(),
            socket: socket.into(),
            runc: find_program("runc"),
            pasta: find_program("pasta"),
            nft: find_program("nft"),
            cgroup: "hythe".into(),
            require_cgroups: true,
        }
    }
}

fn find_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file()).unwrap_or_else(|| name.into())
}

/// A handle to the helper. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Helper {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: HelperOptions,
    calls: Pool,
    dials: Pool,
    /// Waiting takes as long as a sandbox lives: it must not keep other requests from their turn.
    waits: Pool,
    /// Duplicates of the open files that the helper keeps, for its successor.
    kept: Mutex<BTreeMap<String, OwnedFd>>,
}

impl Helper {
    /// Connects to the helper of this folder; starts it first where none runs.
    pub async fn open(options: HelperOptions) -> Result<Helper, SandboxError> {
        let calls = Pool::new(options.socket.clone());
        let (dials, waits) = (Pool::new(options.socket.clone()), Pool::new(options.socket.clone()));
        let helper =
            Helper { inner: Arc::new(Inner { options, calls, dials, waits, kept: Mutex::default() }) };
        if !helper.inner.calls.reachable().await {
            start::start(&helper.inner.options).await?;
        }
        let info = helper.info().await?;
        if info.protocol != wire::PROTOCOL {
            return Err(SandboxError::Version { theirs: info.protocol, ours: wire::PROTOCOL });
        }
        Ok(helper)
    }

    /// What the helper says of itself.
    pub async fn info(&self) -> Result<HelperInfo, SandboxError> {
        self.ask(Request::Info).await
    }

    /// Ends every sandbox and the helper itself.
    pub async fn shutdown(&self) -> Result<(), SandboxError> {
        let () = self.ask(Request::Shutdown).await?;
        start::wait_until_gone(&self.inner.options).await;
        Ok(())
    }

    /// Starts a process in a sandbox of its own. The answer comes when it runs.
    pub async fn run(&self, spec: SandboxSpec, stdio: Stdio) -> Result<Sandbox, SandboxError> {
        let id = spec.id.clone();
        let (stdio, fds) = match stdio {
            Stdio::Fds { stdin, stdout, stderr } => {
                let plan = StdioPlan::Fds { stdin: stdin.is_some() };
                (plan, stdin.into_iter().chain([stdout, stderr]).collect())
            }
            Stdio::Log { dir, segment_bytes, segments } => {
                (StdioPlan::Log { dir, segment_bytes, segments }, Vec::new())
            }
        };
        let request = Request::Run { spec: Box::new(spec), stdio };
        let () = self.call(&request, Vec::new(), fds).await?.value(&request)?;
        Ok(Sandbox::new(self.clone(), id))
    }

    /// Starts a process in a sandbox of its own, on a terminal of its own. The answer comes when it runs.
    pub async fn run_in_terminal(
        &self,
        spec: SandboxSpec,
        size: TerminalSize,
    ) -> Result<(Sandbox, Terminal), SandboxError> {
        let sandbox = Sandbox::new(self.clone(), spec.id.clone());
        let request = Request::Run { spec: Box::new(spec), stdio: StdioPlan::Terminal { size } };
        let mut answer = self.call(&request, Vec::new(), Vec::new()).await?;
        let terminal = answer.fds.pop().ok_or_else(|| std::io::Error::other("no terminal came with it"));
        match terminal.and_then(Terminal::new) {
            Ok(terminal) => Ok((sandbox, terminal)),
            Err(error) => {
                // Nobody could talk to it.
                sandbox.release().await?;
                Err(SandboxError::Answer { operation: request.name(), why: error.to_string() })
            }
        }
    }

    /// Every sandbox that was started and not yet released.
    pub async fn list(&self) -> Result<Vec<SandboxStatus>, SandboxError> {
        self.ask(Request::List).await
    }

    /// A handle to a sandbox that was started before, by this or an earlier run of the server.
    pub async fn attach(&self, id: &str) -> Result<Option<Sandbox>, SandboxError> {
        let known = self.list().await?.iter().any(|status| status.id == id);
        Ok(known.then(|| Sandbox::new(self.clone(), id.to_owned())))
    }

    /// Mounts an overlay that stays until it is unmounted or the helper ends.
    pub async fn mount(&self, mount: OverlayMount) -> Result<(), SandboxError> {
        self.ask(Request::Mount { mount }).await
    }

    /// Unmounts it; what is not mounted is no error.
    pub async fn unmount(&self, target: &RelPath) -> Result<(), SandboxError> {
        self.ask(Request::Unmount { target: target.clone() }).await
    }

    /// Keeps an open file, as a listening socket, for a later run of the server; replaces one of the same name.
    pub async fn put_fd(&self, name: &str, fd: OwnedFd) -> Result<(), SandboxError> {
        if let Ok(own) = fd.try_clone() {
            self.kept().insert(name.to_owned(), own);
        }
        let request = Request::PutFd { name: name.to_owned() };
        self.call(&request, Vec::new(), vec![fd]).await?.value(&request)
    }

    /// A duplicate of an open file that is kept.
    pub async fn take_fd(&self, name: &str) -> Result<Option<OwnedFd>, SandboxError> {
        let request = Request::TakeFd { name: name.to_owned() };
        let taken = self.call(&request, Vec::new(), Vec::new()).await?.fds.pop();
        if let Some(own) = taken.as_ref().and_then(|fd| fd.try_clone().ok()) {
            self.kept().insert(name.to_owned(), own);
        }
        Ok(taken)
    }

    /// Closes an open file that is kept.
    pub async fn drop_fd(&self, name: &str) -> Result<(), SandboxError> {
        self.kept().remove(name);
        self.ask(Request::DropFd { name: name.to_owned() }).await
    }

    /// Names of the open files that are kept.
    pub async fn list_fds(&self) -> Result<Vec<String>, SandboxError> {
        self.ask(Request::ListFds).await
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, OwnedFd>> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, SandboxError> {
        self.call(&request, Vec::new(), Vec::new()).await?.value(&request)
    }

    async fn call(
        &self,
        request: &Request,
        bytes: Vec<u8>,
        fds: Vec<OwnedFd>,
    ) -> Result<Answer, SandboxError> {
        exchange(&self.inner.calls, request, bytes, fds).await
    }

    async fn wait(&self, id: &str) -> Result<Exit, SandboxError> {
        let request = Request::Wait { id: id.to_owned() };
        exchange(&self.inner.waits, &request, Vec::new(), Vec::new()).await?.value(&request)
    }

    async fn call_dial(&self, request: &Request) -> Result<Answer, SandboxError> {
        exchange(&self.inner.dials, request, Vec::new(), Vec::new()).await
    }
}

/// An answer that is not a refusal.
#[derive(Debug)]
struct Answer {
    value: serde_json::Value,
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Answer {
    fn value<T: DeserializeOwned>(self, request: &Request) -> Result<T, SandboxError> {
        serde_json::from_value(self.value)
            .map_err(|error| SandboxError::Answer { operation: request.name(), why: error.to_string() })
    }
}

async fn exchange(
    pool: &Pool,
    request: &Request,
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
) -> Result<Answer, SandboxError> {
    let operation = request.name();
    let json = serde_json::to_vec(request)
        .map_err(|error| SandboxError::Answer { operation, why: error.to_string() })?;
    let frame = pool.exchange(operation, Frame { json, bytes, fds }).await?;
    let reply = serde_json::from_slice(&frame.json)
        .map_err(|error| SandboxError::Answer { operation, why: error.to_string() })?;
    match reply {
        Reply::Done(value) => Ok(Answer { value, bytes: frame.bytes, fds: frame.fds }),
        Reply::Refused { code, message } => Err(SandboxError::Refused { operation, code, message }),
    }
}
