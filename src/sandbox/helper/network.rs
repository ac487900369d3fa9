//! Network namespaces with a guarded way out.
//!
//! Enter at [`Spare::take`]. The order is the point: the namespace, its packet filter, then pasta, and only then, by
//! `runc`, the guest.

use super::guard::{self, RESOLVER};
use super::reap::{self, Ended, Reaper};
use super::refusal::{Doing, Refusal};
use super::state::{State, lock};
use crate::{Egress, ErrorCode, kernel};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Making the filter and attaching pasta take some hundredths of a second; a machine under load gets time.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a spare namespace is good for.
const KEPT: Duration = Duration::from_mins(10);

/// A namespace, kept by a mount of it, and the process that carries its packets.
#[derive(Debug)]
pub(super) struct Wire {
    folder: PathBuf,
    path: PathBuf,
    pasta: Option<i32>,
}

impl Wire {
    /// Makes a namespace in a folder of its own.
    pub(super) fn make(state: &State, egress: &Egress) -> Result<Self, Refusal> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = state.private.join(format!(".net-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&folder).doing("the network namespace")?;
        let path = folder.join("net");
        let mut wire = Self { folder, path, pasta: None };
        match wire.fill(state, egress) {
            Ok(()) => Ok(wire),
            Err(refusal) => {
                wire.close(&state.reaper);
                Err(refusal)
            }
        }
    }

    fn fill(&mut self, state: &State, egress: &Egress) -> Result<(), Refusal> {
        File::create(&self.path).doing("the network namespace")?;
        self.make_namespace(state, egress)?;
        if egress.enabled && machine_has_route() {
            self.attach(state, egress)?;
        }
        Ok(())
    }

    /// Where `runc` finds it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A thread of its own goes into a new namespace; it could never come back to the machine's.
    fn make_namespace(&self, state: &State, egress: &Egress) -> Result<(), Refusal> {
        let own = own_addresses();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).doing("making a network namespace")?;
                let socket = std::net::UdpSocket::bind("0.0.0.0:0").doing("a socket")?;
                kernel::loopback_up(&socket).doing("bringing loopback up")?;
                if egress.enabled {
                    load_guard(state, &self.folder, egress, &own)?;
                }
                rustix::mount::mount_bind("/proc/thread-self/ns/net", &self.path)
                    .doing("keeping the network namespace")
            });
            inside.join().unwrap_or_else(|_| Err(Refusal::new(ErrorCode::Network, "a thread panicked")))
        })
    }

    fn attach(&mut self, state: &State, egress: &Egress) -> Result<(), Refusal> {
        if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
            let why = format!("/dev/net/tun cannot be opened ({error}): as root, run scripts/prepare");
            return Err(Refusal::new(ErrorCode::Unsupported, why));
        }
        let pid_file = self.folder.join("pasta.pid");
        let said = self.folder.join("pasta.log");
        let log = File::create(&said).doing("pasta's log")?;
        let mut command = Command::new(&state.options.pasta);
        // No port of the machine inside, none of the sandbox outside, no machine behind the gateway's address.
        command.args([
            "--config-net",
            "--quiet",
            "--no-map-gw",
            "-t",
            "none",
            "-u",
            "none",
            "-T",
            "none",
            "-U",
            "none",
        ]);
        command.args(["--dns-forward", &RESOLVER.to_string(), "--netns-only", "--netns"]).arg(&self.path);
        command.arg("--pid").arg(&pid_file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // It goes into the background once it carries packets.
        let ended = with_resolvers(&resolvers(egress), &self.folder, || {
            state.reaper.run_to_end(&mut command, PATIENCE)
        })?;
        if ended != Ended::Code(0) {
            return Err(Refusal::new(ErrorCode::Network, format!("pasta failed: {}", complaint(&said))));
        }
        let pid = std::fs::read_to_string(&pid_file).doing("pasta's process")?;
        self.pasta = pid.trim().parse().ok();
        Ok(())
    }

    /// Takes it down.
    pub(super) fn close(self, reaper: &Reaper) {
        if let Some(pid) = self.pasta {
            reap::kill(pid);
            reaper.wait(pid, Duration::from_secs(2));
        }
        let _ = rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A namespace made in advance: making one takes longer than all the rest of starting a sandbox.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Option<Prepared>>);

#[derive(Debug)]
struct Prepared {
    wire: Wire,
    egress: Egress,
    addresses: Vec<IpAddr>,
    made: Instant,
}

impl Prepared {
    /// Whether it is what would be made now: the machine may have moved to another network since.
    fn serves(&self, egress: &Egress) -> bool {
        self.egress == *egress && self.made.elapsed() < KEPT && self.addresses == own_addresses()
    }
}

impl Spare {
    /// The spare one, where it fits, else a new one; makes the next in the background.
    pub(super) fn take(state: &Arc<State>, egress: &Egress) -> Result<Wire, Refusal> {
        let prepared = lock(&state.spare.0).take();
        let fits = prepared.as_ref().is_some_and(|prepared| prepared.serves(egress));
        let wire = match prepared {
            Some(prepared) if fits => Ok(prepared.wire),
            other => {
                if let Some(prepared) = other {
                    prepared.wire.close(&state.reaper);
                }
                Wire::make(state, egress)
            }
        };
        if wire.is_ok() && egress.enabled {
            let (state, egress) = (Arc::clone(state), egress.clone());
            let _ =
                std::thread::Builder::new().name("spare".into()).spawn(move || Self::refill(&state, egress));
        }
        wire
    }

    fn refill(state: &State, egress: Egress) {
        // After the sandbox that has just taken one is on its way.
        std::thread::sleep(Duration::from_millis(200));
        if lock(&state.spare.0).is_some() {
            return;
        }
        let (addresses, made) = (own_addresses(), Instant::now());
        if let Ok(wire) = Wire::make(state, &egress) {
            let before = lock(&state.spare.0).replace(Prepared { wire, egress, addresses, made });
            if let Some(prepared) = before {
                prepared.wire.close(&state.reaper);
            }
        }
    }
}

/// Whether the machine itself has a way out; pasta refuses to carry where there is none, and nothing is lost by that.
fn machine_has_route() -> bool {
    let v4 = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let v6 = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let default_v4 = v4.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000"));
    let default_v6 = v6.lines().any(|line| {
        let mut fields = line.split_whitespace();
        let everywhere = fields.next().is_some_and(|to| to.bytes().all(|byte| byte == b'0'));
        everywhere && fields.next() == Some("00") && !line.ends_with(" lo")
    });
    default_v4 || default_v6
}

/// Runs in the new namespace's thread, whose children are in the namespace too.
fn load_guard(state: &State, folder: &Path, egress: &Egress, own: &[IpAddr]) -> Result<(), Refusal> {
    let (rules, said) = (folder.join("guard.nft"), folder.join("guard.log"));
    std::fs::write(&rules, guard::rules(egress, own)?).doing("the packet filter")?;
    let log = File::create(&said).doing("the packet filter's log")?;
    let mut command = Command::new(&state.options.nft);
    command.arg("-f").arg(&rules).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    match state.reaper.run_to_end(&mut command, PATIENCE)? {
        Ended::Code(0) => Ok(()),
        _ => Err(Refusal::new(
            ErrorCode::Network,
            format!("nft refused the packet filter: {}", complaint(&said)),
        )),
    }
}

/// What a program said, less what pasta says about the system log.
fn complaint(path: &Path) -> String {
    let said = std::fs::read_to_string(path).unwrap_or_default();
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("to syslog"));
    lines.take(4).collect::<Vec<_>>().join("; ")
}

/// The resolvers that pasta must be told of; none where it finds the machine's by itself. A resolver on the machine's
/// loopback (systemd-resolved) cannot be reached by it, so the ones behind are named.
fn resolvers(egress: &Egress) -> Vec<IpAddr> {
    if !egress.dns.is_empty() {
        return egress.dns.clone();
    }
    let configured = nameservers("/etc/resolv.conf");
    if configured.iter().all(IpAddr::is_loopback) {
        let behind = nameservers("/run/systemd/resolve/resolv.conf");
        return behind.into_iter().filter(|address| !address.is_loopback()).collect();
    }
    Vec::new()
}

fn nameservers(file: &str) -> Vec<IpAddr> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok()).collect()
}

/// Calls `start` where `/etc/resolv.conf` names these resolvers: pasta reads it when it starts.
fn with_resolvers<T: Send>(
    resolvers: &[IpAddr],
    folder: &Path,
    start: impl FnOnce() -> Result<T, Refusal> + Send,
) -> Result<T, Refusal> {
    if resolvers.is_empty() {
        return start();
    }
    let file = folder.join("resolvers");
    let lines: Vec<String> = resolvers.iter().map(|address| format!("nameserver {address}\n")).collect();
    std::fs::write(&file, lines.concat()).doing("the resolvers")?;
    std::thread::scope(|scope| {
        let own_mounts = scope.spawn(|| {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).doing("making a mount namespace")?;
            let target = Path::new("/etc/resolv.conf").canonicalize().doing("/etc/resolv.conf")?;
            rustix::mount::mount_bind(&file, &target).doing("/etc/resolv.conf")?;
            start()
        });
        own_mounts.join().unwrap_or_else(|_| Err(Refusal::new(ErrorCode::Network, "a thread panicked")))
    })
}

/// Addresses of the machine's interfaces, loopback and link-local ones excepted, which are closed anyway.
fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut addresses: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .filter(|address| !address.is_loopback())
        .filter(|address| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
