//! Makes the namespaces and goes into the background.
//!
//! Three processes, each with a single thread: the starter stays outside, maps the user ids by `newuidmap` and waits;
//! its child makes the user namespace, becomes root of it, makes mount and PID namespaces and ends; the grandchild is
//! process 1 of the new PID namespace, so that its end is the end of everything in it.

use super::Options;
use crate::kernel::{self, Forked};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Pid, Uid, User, setgroups, setresgid, setresuid, setsid};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

/// Says that the service answers, or what it found; then the starter ends.
pub(super) struct Ready(UnixStream);

impl Ready {
    /// Everything is well; `said` goes to the starter's standard output.
    pub(super) fn well(mut self, said: &str) {
        let _ = write!(self.0, "ok\n{said}");
    }

    fn failed(mut self, why: &str) {
        let _ = write!(self.0, "no\n{why}");
    }
}

/// Runs `inside` as process 1 of new namespaces, in the background; returns in the starter when `inside` is ready.
pub(super) fn enter(
    options: &Options,
    inside: impl FnOnce(Ready) -> Result<(), (Ready, String)>,
) -> Result<(), String> {
    let ids = SubordinateIds::of_this_user()?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| format!("cannot make a socket: {error}"))?;
    match kernel::fork().map_err(|error| format!("cannot fork: {error}"))? {
        Forked::Parent(child) => {
            drop(theirs);
            outside(ours, child, &ids)
        }
        Forked::Child => {
            drop(ours);
            if let Err((ready, why)) = become_root(options, theirs).and_then(inside) {
                ready.failed(&why);
                std::process::exit(1);
            }
            std::process::exit(0);
        }
    }
}

/// The starter: maps the ids once the user namespace is there, then hears how it went.
fn outside(mut socket: UnixStream, child: Pid, ids: &SubordinateIds) -> Result<(), String> {
    let mut byte = [0];
    match socket.read(&mut byte) {
        Ok(1) if byte == *b"u" => {
            ids.map(child)?;
            socket.write_all(b"m").map_err(|error| format!("the new process ended: {error}"))?;
        }
        // Anything else is the beginning of a complaint, "no\n...".
        _ => return Err(format!("user namespaces are not available: {}", rest_of(socket))),
    }
    let said = rest_of(socket);
    match said.strip_prefix("ok\n") {
        Some(said) => {
            print!("{said}");
            Ok(())
        }
        None => Err(said.strip_prefix("no\n").unwrap_or("the new process ended without a word").to_owned()),
    }
}

fn rest_of(mut socket: UnixStream) -> String {
    let mut said = Vec::new();
    let _ = socket.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    said.strip_prefix("o\n").unwrap_or(&said).to_owned()
}

/// The child and, on return, the grandchild.
fn become_root(options: &Options, mut socket: UnixStream) -> Result<Ready, (Ready, String)> {
    match namespaces(&mut socket).and_then(|()| file_systems()).and_then(|()| leave_terminal(options)) {
        Ok(()) => Ok(Ready(socket)),
        Err(why) => Err((Ready(socket), why)),
    }
}

fn namespaces(socket: &mut UnixStream) -> Result<(), String> {
    let at = |what: &'static str| move |error: nix::Error| format!("{what}: {error}");
    setsid().map_err(at("cannot begin a session"))?;
    unshare(CloneFlags::CLONE_NEWUSER).map_err(at("cannot make a user namespace"))?;
    let mut byte = *b"u";
    let mapped = socket.write_all(&byte).and_then(|()| socket.read_exact(&mut byte));
    mapped.map_err(|error| format!("the user ids were not mapped: {error}"))?;
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).map_err(at("cannot become group 0"))?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).map_err(at("cannot become user 0"))?;
    setgroups(&[]).map_err(at("cannot leave the groups"))?;
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    unshare(flags).map_err(at("cannot make mount and PID namespaces"))?;
    match kernel::fork().map_err(|error| format!("cannot fork: {error}"))? {
        // Its own end of the socket closes with it; the grandchild holds the same.
        Forked::Parent(_) => std::process::exit(0),
        Forked::Child => Ok(()),
    }
}

fn file_systems() -> Result<(), String> {
    let private = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|error| format!("cannot make the mounts private: {error}"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).map_err(|error| {
        format!("cannot mount /proc: {error} (inside a container, its own /proc must not be masked)")
    })
}

/// Own log, no terminal, no input, no foreign working directory.
fn leave_terminal(options: &Options) -> Result<(), String> {
    let path = options.socket.with_extension("log");
    let log = OpenOptions::new().create(true).append(true).mode(0o640).open(&path);
    let log = log.map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| format!("cannot open /dev/null: {error}"))?;
    nix::unistd::dup2_stdin(&null).map_err(|error| error.to_string())?;
    nix::unistd::dup2_stdout(&null).map_err(|error| error.to_string())?;
    nix::unistd::dup2_stderr(&log).map_err(|error| error.to_string())?;
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o022));
    std::env::set_current_dir("/").map_err(|error| error.to_string())
}

impl Drop for Ready {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// The ids that this user may map besides its own.
struct SubordinateIds {
    uids: (u32, u32),
    gids: (u32, u32),
}

impl SubordinateIds {
    fn of_this_user() -> Result<Self, String> {
        let uid = Uid::current();
        if uid.is_root() {
            return Err("sandboxes are never run by root: start the server as an unprivileged user".into());
        }
        let name = User::from_uid(uid).ok().flatten().map(|user| user.name).unwrap_or_default();
        let range = |file: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            find_range(&text, &name, uid.as_raw()).ok_or_else(|| {
                format!(
                    "the user {name} ({uid}) has no 65,536 subordinate ids in {file}; as root, run scripts/prepare, \
                     or give it a range that is free: usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST {name}"
                )
            })
        };
        Ok(Self { uids: range("/etc/subuid")?, gids: range("/etc/subgid")? })
    }

    fn map(&self, process: Pid) -> Result<(), String> {
        map_with("newuidmap", process, Uid::current().as_raw(), self.uids)?;
        map_with("newgidmap", process, Gid::current().as_raw(), self.gids)
    }
}

/// 0 is the server's own id, 1 and up are subordinate ones.
fn map_with(program: &str, process: Pid, own: u32, (first, count): (u32, u32)) -> Result<(), String> {
    let numbers = [process.as_raw().to_string(), "0".into(), own.to_string(), "1".into(), "1".into()];
    let output = Command::new(program).args(numbers).args([first.to_string(), count.to_string()]).output();
    let output = output.map_err(|error| format!("cannot run {program} (Debian package uidmap): {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hint = if status.contains("NoNewPrivs:\t1") {
        " (this process may gain no privileges: start the server without NoNewPrivileges)"
    } else {
        ""
    };
    Err(format!("{program} failed: {}{hint}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The longest range of at least 65,535 ids in a subordinate id file (subuid(5)).
fn find_range(text: &str, name: &str, id: u32) -> Option<(u32, u32)> {
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let mine = owner == name || owner.parse() == Ok(id);
        mine.then_some((first.parse().ok()?, count.parse().ok()?))
    });
    ranges.filter(|(_, count)| *count >= 65_535).max_by_key(|(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::find_range;

    #[test]
    fn subordinate_ids_are_found_by_name_or_number() {
        let text = "root:1:5\nother:100000:65536\nhythe:200000:10\n999:231072:65536\n";
        assert_eq!(find_range(text, "hythe", 999), Some((231_072, 65_536)));
        assert_eq!(find_range(text, "other", 5), Some((100_000, 65_536)));
        assert_eq!(find_range(text, "root", 0), None);
        assert_eq!(find_range("broken\n:::\n", "hythe", 999), None);
    }
}
