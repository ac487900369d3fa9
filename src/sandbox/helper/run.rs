//! Puts a sandbox together and starts it.
//!
//! Enter at [`start`]. What is made on the way is taken down again where a step fails; from the first step that
//! succeeds whole, `supervise` is in charge.

use super::bundle::{self, Surroundings};
use super::console::Console;
use super::logs::LogWriter;
use super::network::{Spare, Wire};
use super::overlay::{self, Durability};
use super::pump::{Pump, Sink};
use super::reap::Ended;
use super::refusal::{Doing, Refusal};
use super::root::path_of;
use super::state::{Handles, Running, State, lock};
use super::{files, supervise};
use crate::wire::StdioPlan;
use crate::{ErrorCode, Mount, Network, RelPath, SandboxSpec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::{File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `runc` takes some hundredths of a second; a machine under load gets time.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a process takes at most from leaving its namespaces to its end.
const A_MOMENT: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Starts a sandbox; returns when its process runs, with the other end of its terminal where it has one.
pub(super) fn start(
    state: &Arc<State>,
    spec: &SandboxSpec,
    stdio: StdioPlan,
    fds: Vec<OwnedFd>,
) -> Result<Option<OwnedFd>, Refusal> {
    check(state, spec)?;
    let running = Arc::new(Running::new(spec.id.clone(), spec.labels.clone(), spec.root.upper.clone()));
    state.reserve(&running)?;
    let assembly = Assembly {
        state,
        spec,
        running,
        folder: state.private.join(&spec.id),
        wire: None,
        begun: Instant::now(),
    };
    assembly.start(stdio, fds)
}

fn check(state: &State, spec: &SandboxSpec) -> Result<(), Refusal> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let id = &spec.id;
    if !id.starts_with(letter) || id.len() > 80 || !id.chars().all(|c| letter(c) || "._-".contains(c)) {
        return Err(Refusal::invalid(format!("`{id}` is not a sandbox name")));
    }
    if spec.process.args.is_empty() || !spec.process.cwd.starts_with('/') {
        return Err(Refusal::invalid("a process needs a program and an absolute working directory"));
    }
    let zero = |text: &str| text.contains('\0');
    let env = spec.process.env.iter();
    if spec.process.args.iter().any(|arg| zero(arg))
        || env.clone().any(|(name, value)| zero(name) || zero(value) || name.is_empty() || name.contains('='))
    {
        return Err(Refusal::invalid(
            "a zero byte in an argument or variable, or a variable without a proper name",
        ));
    }
    if state.options.require_cgroups && state.cgroups.path_for(id).is_none() {
        let why =
            "there are no cgroups to hold the limits of memory, CPU and processes: run hythed check-config";
        return Err(Refusal::new(ErrorCode::Unsupported, why));
    }
    Ok(())
}

/// What runs.
struct Started {
    pid: i32,
    pump: Option<Pump>,
    /// The other end of its terminal.
    terminal: Option<OwnedFd>,
}

struct Assembly<'a> {
    state: &'a Arc<State>,
    spec: &'a SandboxSpec,
    running: Arc<Running>,
    folder: PathBuf,
    wire: Option<Wire>,
    begun: Instant,
}

impl Assembly<'_> {
    fn start(mut self, stdio: StdioPlan, fds: Vec<OwnedFd>) -> Result<Option<OwnedFd>, Refusal> {
        let Started { pid, pump, terminal } = match self.assemble(stdio, fds) {
            Ok(started) => started,
            Err(refusal) => return Err(self.give_up(refusal)),
        };
        let job = supervise::Job {
            state: Arc::clone(self.state),
            running: Arc::clone(&self.running),
            limits: self.spec.limits.clone(),
            watched: self.watched(),
            pid,
            pump,
            wire: self.wire.take(),
            folder: self.folder.clone(),
            begun: self.begun,
        };
        supervise::start(job).map_err(|(error, wire)| {
            self.wire = wire;
            self.give_up(Refusal::io("a thread for the sandbox", &error))
        })?;
        Ok(terminal)
    }

    /// Takes down what there is, and forgets the sandbox. Whoever waits for its end or its release is told.
    fn give_up(&mut self, refusal: Refusal) -> Refusal {
        supervise::take_down(self.state, &self.spec.id, &self.folder, self.wire.take());
        self.state.forget(&self.spec.id);
        self.running.cleaned();
        refusal
    }

    fn assemble(&mut self, stdio: StdioPlan, fds: Vec<OwnedFd>) -> Result<Started, Refusal> {
        let rootfs = self.folder.join("rootfs");
        std::fs::create_dir_all(&rootfs).doing("the bundle")?;
        let root = &self.spec.root;
        let (state, spec) = (self.state, self.spec);
        // The network takes longest: it is made beside the rest.
        let (wire, rest) = std::thread::scope(|scope| {
            let wire = scope.spawn(|| match &spec.network {
                Network::Private { egress } => Spare::take(state, egress).map(Some),
                Network::None => Ok(None),
            });
            let rest = overlay::mount(&state.root, &root.lowers, &root.upper, &rootfs, Durability::Ephemeral)
                .and_then(|()| self.sources());
            let panicked = |_| Err(Refusal::new(ErrorCode::Network, "a thread panicked"));
            (wire.join().unwrap_or_else(panicked), rest)
        });
        self.wire = wire?;
        let sources = rest?;
        let around = Surroundings {
            rootfs,
            cgroup: state.cgroups.path_for(&spec.id),
            limits_swap: state.cgroups.limits_swap(),
            network: self.wire.as_ref().map(|wire| wire.path().to_owned()),
            sources,
            defaults: self.default_files()?,
            most_files: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .maximum
                .unwrap_or(1 << 20),
            terminal: match &stdio {
                StdioPlan::Terminal { size } => Some(*size),
                StdioPlan::Fds { .. } | StdioPlan::Log { .. } => None,
            },
        };
        let config = bundle::config(spec, &around)?;
        let json = serde_json::to_vec(&config).map_err(|error| Refusal::invalid(error.to_string()))?;
        std::fs::write(self.folder.join("config.json"), json).doing("the bundle")?;
        self.launch(stdio, fds)
    }

    /// Where each mount is found. A source below the helper's folder is opened without following a link, and what was
    /// opened is mounted at a place of our own, from where `runc` takes it: nobody can swap it in between.
    fn sources(&self) -> Result<Vec<Option<PathBuf>>, Refusal> {
        let mut sources = Vec::new();
        for (number, mount) in self.spec.mounts.iter().enumerate() {
            sources.push(match mount {
                Mount::Bind { source, .. } if source.is_absolute() => Some(source.clone()),
                Mount::Bind { source, .. } => Some(self.hold(&format!("bind-{number}"), &relative(source)?)?),
                Mount::File { content, mode, .. } => {
                    Some(self.file(&format!("file-{number}"), content, *mode)?)
                }
                Mount::Tmpfs { .. } => None,
            });
        }
        Ok(sources)
    }

    fn hold(&self, name: &str, path: &RelPath) -> Result<PathBuf, Refusal> {
        let fd = self.state.root.open_at(path, OFlags::PATH).doing(path)?;
        let place = self.folder.join(name);
        if FileType::from_raw_mode(rustix::fs::fstat(&fd).doing(path)?.st_mode) == FileType::Directory {
            std::fs::create_dir(&place).doing(path)?;
        } else {
            File::create(&place).doing(path)?;
        }
        rustix::mount::mount_bind_recursive(path_of(&fd), &place).doing(path)?;
        Ok(place)
    }

    fn file(&self, name: &str, content: &[u8], mode: u32) -> Result<PathBuf, Refusal> {
        let path = self.folder.join(name);
        std::fs::write(&path, content).doing("a file of the sandbox")?;
        std::fs::set_permissions(&path, Permissions::from_mode(mode & 0o777))
            .doing("a file of the sandbox")?;
        Ok(path)
    }

    /// `resolv.conf`, `hosts` and `hostname`, unless the spec mounts its own.
    fn default_files(&self) -> Result<Vec<(PathBuf, &'static str)>, Refusal> {
        let name = &self.spec.hostname;
        let hosts = format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost ip6-loopback\n");
        let contents = [
            ("/etc/resolv.conf", resolv_conf(&self.spec.network)),
            ("/etc/hosts", hosts),
            ("/etc/hostname", format!("{name}\n")),
        ];
        let mut files = Vec::new();
        for (target, content) in contents {
            let own = self.spec.mounts.iter().any(|mount| mount.target() == target);
            if !own {
                files.push((self.file(&target.replace('/', "_"), content.as_bytes(), 0o644)?, target));
            }
        }
        Ok(files)
    }

    fn launch(&self, stdio: StdioPlan, fds: Vec<OwnedFd>) -> Result<Started, Refusal> {
        let (said, pid_file) = (self.folder.join("runc.log"), self.folder.join("pid"));
        let mut command = runc(self.state);
        command.arg("--log").arg(&said).args(["--log-format", "text"]);
        command.args(["run", "--detach", "--no-new-keyring", "--pid-file"]).arg(&pid_file);
        command.arg("--bundle").arg(&self.folder);
        let console = match &stdio {
            StdioPlan::Terminal { .. } => Some(Console::offer(&mut command, &self.folder)?),
            StdioPlan::Fds { .. } | StdioPlan::Log { .. } => None,
        };
        command.arg(&self.spec.id);
        let pump = self.connect(&mut command, stdio, fds)?;
        let ended = self.state.reaper.run_to_end(&mut command, PATIENCE);
        // The pipes' writing ends close here: from now on the sandbox alone holds them.
        drop(command);
        if ended? != Ended::Code(0) {
            return Err(Refusal::new(ErrorCode::Runtime, complaint(&said)));
        }
        let terminal = console.map(Console::taken).transpose()?;
        let pid = std::fs::read_to_string(&pid_file).doing("the sandbox's process")?;
        let pid: i32 =
            pid.trim().parse().map_err(|_| Refusal::new(ErrorCode::Runtime, "runc wrote no process id"))?;
        if let Some(handles) = take_hold(pid)? {
            self.running.begin(handles);
        }
        Ok(Started { pid, pump, terminal })
    }

    /// Gives `runc` the streams that the sandbox inherits.
    fn connect(
        &self,
        command: &mut Command,
        stdio: StdioPlan,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Pump>, Refusal> {
        let limit = self.spec.limits.output_bytes;
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or_else(|| Refusal::invalid("a standard stream is missing"));
        command.stdin(Stdio::null());
        let sink = match stdio {
            StdioPlan::Fds { stdin } => {
                if stdin {
                    command.stdin(next()?);
                }
                let (output, error) = (next()?, next()?);
                if limit.is_none() {
                    command.stdout(output).stderr(error);
                    return Ok(None);
                }
                Sink::Files { output: output.into(), error: error.into() }
            }
            StdioPlan::Log { dir, segment_bytes, segments } => {
                if !dir.is_absolute() {
                    return Err(Refusal::invalid("the folder for logs must be absolute"));
                }
                Sink::Log(LogWriter::open(&dir, segment_bytes, segments).doing(dir.display())?)
            }
            StdioPlan::Terminal { .. } if limit.is_some() => {
                return Err(Refusal::invalid("what goes over a terminal is not counted"));
            }
            StdioPlan::Terminal { .. } => return Ok(None),
        };
        let (output, output_end) = pipe_with(PipeFlags::CLOEXEC).doing("a pipe")?;
        let (error, error_end) = pipe_with(PipeFlags::CLOEXEC).doing("a pipe")?;
        command.stdout(output_end).stderr(error_end);
        Pump::start(Arc::clone(&self.running), output, error, sink, limit)
            .map(Some)
            .doing("a thread for output")
    }

    /// The folders that the disk limit is about: changes of the root, writable binds below the helper's folder, and
    /// where one of those is an overlay, its changes.
    fn watched(&self) -> Vec<OwnedFd> {
        let binds = self.spec.mounts.iter().filter_map(|mount| match mount {
            Mount::Bind { source, read_only: false, .. } if source.is_relative() => relative(source).ok(),
            _ => None,
        });
        let mounts = lock(&self.state.mounts);
        let seen = |path: RelPath| mounts.get(&path).cloned().unwrap_or(path);
        let paths = std::iter::once(self.spec.root.upper.clone()).chain(binds.map(seen));
        paths
            .filter_map(|path| self.state.root.open_at(&path, OFlags::RDONLY | OFlags::DIRECTORY).ok())
            .collect()
    }
}

/// Opens what names the process and its network for good. Where it has ended already there is nothing to signal or to
/// dial any more, and nothing is opened. One that runs and cannot be held is refused: no limit could end it.
fn take_hold(pid: i32) -> Result<Option<Handles>, Refusal> {
    let number = Pid::from_raw(pid).ok_or_else(|| Refusal::new(ErrorCode::Runtime, "process 0"))?;
    let process = match pidfd_open(number, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        opened => opened.doing("holding the sandbox's process")?,
    };
    match File::open(format!("/proc/{pid}/ns/net")) {
        Ok(network) => Ok(Some(Handles { pid, process, network: network.into() })),
        Err(_) if has_ended(&process) => Ok(None),
        Err(error) => Err(Refusal::io("holding the sandbox's network", &error)),
    }
}

/// One that ends has left its namespaces a moment before it says so.
fn has_ended(process: &OwnedFd) -> bool {
    let mut waiting = [PollFd::new(process, PollFlags::IN)];
    poll(&mut waiting, Some(&A_MOMENT)).is_ok_and(|ended| ended > 0)
}

fn relative(source: &Path) -> Result<RelPath, Refusal> {
    let text = source.to_str().unwrap_or_default();
    RelPath::new(text).map_err(|error| Refusal::invalid(error.to_string()))
}

fn resolv_conf(network: &Network) -> String {
    match network {
        Network::Private { egress } if egress.enabled => {
            format!("nameserver {}\noptions edns0 timeout:3 attempts:3\n", super::guard::RESOLVER)
        }
        _ => "# This sandbox has no network.\n".to_owned(),
    }
}

/// `runc` with its state in our own folder.
pub(super) fn runc(state: &State) -> Command {
    let mut command = Command::new(&state.options.runc);
    command.arg("--root").arg(state.private.join("runc")).args(["--rootless", "true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The message of `runc`'s last complaint: `time="..." level=error msg="..."`.
fn complaint(said: &Path) -> String {
    let text = std::fs::read_to_string(said).unwrap_or_default();
    let mut messages =
        text.lines().filter(|line| line.contains("level=error") || line.contains("level=fatal"));
    let last = messages.next_back().unwrap_or("runc failed without a word");
    let message = last.split_once("msg=").map_or(last, |(_, message)| message);
    message.trim_matches('"').replace("\\\"", "\"")
}

/// Forgets a sandbox that has ended or ends now, and removes its changes.
pub(super) fn release(state: &Arc<State>, id: &str) -> Result<(), Refusal> {
    let running = state.sandbox(id)?;
    running.end(crate::ExitCause::Killed);
    if !running.wait_cleaned(PATIENCE) {
        return Err(Refusal::new(ErrorCode::Runtime, format!("the sandbox `{id}` does not end")));
    }
    files::remove(&state.root, &running.upper)?;
    files::remove(&state.root, &overlay::work_of(&running.upper)?)?;
    state.forget(id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_needs_no_hold_and_one_that_runs_gets_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        assert_eq!(take_hold(pid).unwrap().unwrap().pid, pid);
        child.kill().unwrap();
        // A zombie has no network any more, and a number that nobody has no process.
        let begun = Instant::now();
        while take_hold(pid).unwrap().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(10), "it does not end");
        }
        child.wait().unwrap();
        assert!(take_hold(pid).unwrap().is_none());
    }
}
