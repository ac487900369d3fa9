//! Answers requests, one thread a connection.
//!
//! Enter at [`serve`]; `Connection::answer` is the list of what can be asked.

use super::attend::has_hung_up;
use super::cgroup::Cgroups;
use super::enter::Ready;
use super::options::Options;
use super::reap::Reaper;
use super::refusal::{Doing, Refusal};
use super::root::Root;
use super::state::{Running, State, lock};
use super::{archive, files, overlay, run, signal};
use crate::wire::{self, Frame, Reply, Request};
use crate::{ErrorCode, ExitCause, OverlayMount, RelPath, ResourceUsage};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use serde::Serialize;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Connections at one time: a client that leaks them hurts itself. Room for each of the client's pools.
const CONNECTIONS: usize = 4000;

/// Prepares the folder, the cgroups and the socket; says that all is ready; then serves without end.
pub(super) fn serve(options: Options, ready: Ready) -> Result<(), (Ready, String)> {
    match prepare(options) {
        Ok((state, listener)) => {
            ready.well("");
            accept(&state, &listener)
        }
        Err(why) => Err((ready, why)),
    }
}

fn prepare(options: Options) -> Result<(Arc<State>, UnixListener), String> {
    // Before any other thread: they all inherit it, and one waits for these signals.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().map_err(|error| format!("cannot block signals: {error}"))?;
    let state = make_state(options)?;
    let socket = &state.options.socket;
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket)
        .map_err(|error| format!("cannot listen at {}: {error}", socket.display()))?;
    let closed = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(socket, closed).map_err(|error| format!("{}: {error}", socket.display()))?;
    let own = Arc::clone(&state);
    let waits = move || {
        let _ = signals.wait();
        shut_down(&own);
        std::process::exit(0);
    };
    std::thread::Builder::new().name("signals".into()).spawn(waits).map_err(|error| error.to_string())?;
    Ok((state, listener))
}

/// Everything but the socket; for trials too.
pub(super) fn make_state(options: Options) -> Result<Arc<State>, String> {
    let root = Root::open(&options.root)?;
    let private = root.path().join(crate::path::PRIVATE);
    std::fs::create_dir_all(&private)
        .map_err(|error| format!("cannot make {}: {error}", private.display()))?;
    take_lock(&private)?;
    let tmpfs = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", &private, "tmpfs", tmpfs, Some(c"mode=0700"))
        .map_err(|error| format!("cannot mount a tmpfs at {}: {error}", private.display()))?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    let (cgroups, why) = Cgroups::find(&options.cgroup, &key_of(&private));
    if let Some(why) = why {
        if options.require_cgroups {
            return Err(why);
        }
        eprintln!("limits of memory, CPU and processes do not hold: {why}");
    }
    let reaper = Reaper::start().map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(Arc::new(State::new(options, root, private, cgroups, reaper)))
}

/// One helper a folder: the lock is on the folder itself, below the tmpfs, and lives as long as this process.
fn take_lock(private: &Path) -> Result<(), String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(private, flags, Mode::empty()).map_err(|error| error.to_string())?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| format!("another helper serves {}", private.display()))?;
    std::mem::forget(folder);
    Ok(())
}

/// A short name for this folder among those of the same user (FNV-1a).
fn key_of(path: &Path) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in path.as_os_str().as_encoded_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

fn accept(state: &Arc<State>, listener: &UnixListener) -> ! {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        if !is_our_user(&stream) || open.load(Ordering::Relaxed) >= CONNECTIONS {
            continue;
        }
        let (state, count) = (Arc::clone(state), Arc::clone(&open));
        count.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::Builder::new().name("request".into()).spawn(move || {
            converse(&state, &stream);
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if thread.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The server's user is number 0 here; anyone else, root of the machine included, has another number.
fn is_our_user(stream: &UnixStream) -> bool {
    // `rustix` cannot say "a process outside of this PID namespace", which a client always is.
    let peer = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials);
    peer.is_ok_and(|peer| peer.uid() == 0)
}

fn converse(state: &Arc<State>, stream: &UnixStream) {
    let mut connection = Connection { state, stream, inside: None, over: false };
    while let Ok(Some(frame)) = wire::receive(stream) {
        let answer = connection.answer(frame).unwrap_or_else(|refusal| refused(&refusal));
        if wire::send(stream, answer).is_err() || connection.over {
            return;
        }
    }
}

fn refused(refusal: &Refusal) -> Frame {
    let reply = Reply::Refused { code: refusal.code, message: refusal.message.clone() };
    Frame { json: serde_json::to_vec(&reply).unwrap_or_default(), ..Frame::default() }
}

fn done(value: impl Serialize) -> Result<Frame, Refusal> {
    let value = serde_json::to_value(value).map_err(|error| Refusal::invalid(error.to_string()))?;
    let json =
        serde_json::to_vec(&Reply::Done(value)).map_err(|error| Refusal::invalid(error.to_string()))?;
    Ok(Frame { json, ..Frame::default() })
}

fn with_fd(fd: Option<OwnedFd>) -> Result<Frame, Refusal> {
    Ok(Frame { fds: fd.into_iter().collect(), ..done(())? })
}

struct Connection<'a> {
    state: &'a Arc<State>,
    stream: &'a UnixStream,
    /// The sandbox into whose network its thread has gone. It cannot come back, only go into another one: it serves
    /// nothing but further dialling.
    inside: Option<Weak<Running>>,
    /// Whether nobody knows any more where the thread is; the connection ends.
    over: bool,
}

impl Connection<'_> {
    fn answer(&mut self, frame: Frame) -> Result<Frame, Refusal> {
        let request = serde_json::from_slice(&frame.json)
            .map_err(|error| Refusal::invalid(format!("the request is not understood: {error}")))?;
        if let Request::Dial { id } = request {
            return self.dial(&id);
        }
        if self.inside.is_some() {
            return Err(Refusal::invalid("this connection is for dialling"));
        }
        let (state, mut fds) = (self.state, frame.fds);
        let root = &state.root;
        let mut one = || fds.pop().ok_or_else(|| Refusal::invalid("an open file is missing"));
        match request {
            Request::Info => done(&state.info),
            Request::Shutdown => self.shut_down(),
            Request::MakeDir { path, uid, gid, mode } => {
                done(files::make_dir(root, &path, (uid, gid), mode)?)
            }
            Request::Rename { from, to } => done(files::rename(root, &from, &to)?),
            Request::Remove { path } => done(files::remove(root, &path)?),
            Request::Exists { path } => done(files::exists(root, &path)?),
            Request::ListDir { path } => done(files::list(root, &path)?),
            Request::Read { path, max } => Ok(Frame { bytes: files::read(root, &path, max)?, ..done(())? }),
            Request::Write { path, uid, gid, mode } => {
                done(files::write(root, &path, &frame.bytes, (uid, gid), mode)?)
            }
            Request::DiskUsage { path } => done(files::usage(root, &path)?),
            Request::Unpack { dest, options } => {
                done(archive::unpack(root, self.stream, one()?, &dest, &options)?)
            }
            Request::Pack { spec, compression, bounds } => {
                done(archive::pack(root, self.stream, spec, compression, bounds, one()?)?)
            }
            Request::Fingerprint { spec } => done(archive::fingerprint(root, spec)?),
            Request::Mount { mount } => done(mount_overlay(state, mount)?),
            Request::Unmount { target } => done(unmount_overlay(state, &target)?),
            Request::Run { spec, stdio } => with_fd(run::start(state, &spec, stdio, fds)?),
            Request::List => done(state.all().iter().map(|running| running.status()).collect::<Vec<_>>()),
            Request::Wait { id } => self.wait(&id),
            Request::Signal { id, signal } => done(signal::send(state, &id, signal)?),
            Request::Kill { id } => done(kill(state, &id)?),
            Request::Release { id } => done(run::release(state, &id)?),
            Request::Usage { id } => done(usage(state, &id)?),
            Request::PutFd { name } => done(state.fds.put(&name, one()?)?),
            Request::TakeFd { name } => with_fd(state.fds.take(&name)?),
            Request::DropFd { name } => {
                state.fds.drop_one(&name);
                done(())
            }
            Request::ListFds => done(state.fds.names()),
            Request::Dial { .. } => Err(Refusal::invalid("unreachable")),
        }
    }

    /// A socket of the sandbox's network, not yet connected: that is left to the client, who can wait better.
    fn dial(&mut self, id: &str) -> Result<Frame, Refusal> {
        let running = self.state.sandbox(id)?;
        let handles = running.handles.get().filter(|_| running.wait(Duration::ZERO).is_none());
        let handles = handles.ok_or_else(|| not_running(id))?;
        let there = Arc::downgrade(&running);
        if !self.inside.as_ref().is_some_and(|inside| inside.ptr_eq(&there)) {
            let entered = setns(handles.network.as_fd(), CloneFlags::CLONE_NEWNET);
            self.over = entered.is_err();
            entered.doing("entering the sandbox's network")?;
            self.inside = Some(there);
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        with_fd(Some(socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).doing("a socket")?))
    }

    /// Waits as long as the client does.
    fn wait(&self, id: &str) -> Result<Frame, Refusal> {
        let running = self.state.sandbox(id)?;
        loop {
            if let Some(exit) = running.wait(Duration::from_secs(1)) {
                return done(exit);
            }
            // One that could not be started has no exit, and never will.
            if has_hung_up(self.stream) || running.wait_cleaned(Duration::ZERO) {
                return Err(not_running(id));
            }
        }
    }

    fn shut_down(&self) -> Result<Frame, Refusal> {
        shut_down(self.state);
        let _ = wire::send(self.stream, done(())?);
        std::process::exit(0);
    }
}

fn not_running(id: &str) -> Refusal {
    Refusal::new(ErrorCode::NotRunning, format!("the sandbox `{id}` does not run"))
}

/// Ends every sandbox and clears up; the socket goes first, so that nobody comes any more.
fn shut_down(state: &Arc<State>) {
    let _ = std::fs::remove_file(&state.options.socket);
    let all = state.all();
    for running in &all {
        running.end(ExitCause::Killed);
    }
    for running in &all {
        running.wait_cleaned(Duration::from_secs(5));
    }
    state.cgroups.leave();
}

fn mount_overlay(state: &State, mount: OverlayMount) -> Result<(), Refusal> {
    let mut mounts = lock(&state.mounts);
    if mounts.contains_key(&mount.target) {
        return Err(Refusal::new(ErrorCode::Exists, format!("{} is mounted already", mount.target)));
    }
    let target: PathBuf = overlay::target(&state.root, &mount.target)?;
    overlay::mount(&state.root, &mount.lowers, &mount.upper, &target, overlay::Durability::Kept)?;
    mounts.insert(mount.target, mount.upper);
    Ok(())
}

fn unmount_overlay(state: &State, target: &RelPath) -> Result<(), Refusal> {
    let mut mounts = lock(&state.mounts);
    if mounts.contains_key(target) {
        overlay::unmount(&state.root.path().join(target))?;
        mounts.remove(target);
    }
    Ok(())
}

fn kill(state: &State, id: &str) -> Result<(), Refusal> {
    state.sandbox(id)?.end(ExitCause::Killed);
    Ok(())
}

fn usage(state: &State, id: &str) -> Result<ResourceUsage, Refusal> {
    let running = state.sandbox(id)?;
    let (memory_bytes, memory_peak_bytes, cpu_micros, pids) = state.cgroups.usage(id);
    Ok(ResourceUsage { memory_bytes, memory_peak_bytes, cpu_micros, pids, disk_bytes: running.disk() })
}
