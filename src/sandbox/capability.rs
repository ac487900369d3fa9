//! What this machine can do for the server and for sandboxes, and how to mend what it cannot.
//!
//! Enter at [`machine`], and at [`probe`] where anything runs in sandboxes. What can be tried is tried: a user namespace with subordinate ids, an overlay and a guarded
//! network in it, by the same code that sandboxes use.

use crate::HelperOptions;
use hythe_model::{Finding, Verdict};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// What the helper's program found out inside its namespaces: the failure of each, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) overlay: Option<String>,
    pub(crate) runc: Option<String>,
    pub(crate) network: Option<String>,
    pub(crate) cgroups: Result<String, String>,
}

const PREPARE: &str = "run as root: scripts/prepare";
/// Less free space than this is a warning; less than a tenth of it a failure.
const SPACE: u64 = 10 << 30;
/// The clock of a machine that says it is earlier than this (1 January 2026) is wrong, and no certificate will do.
const EARLIEST: u64 = 1_767_225_600;

/// Looks at what sandboxes need, by doing it where that is cheap. Blocks for up to some seconds; makes and removes a folder
/// beside the helper's root, and does not disturb a helper that runs.
pub fn probe(options: &HelperOptions) -> Vec<Finding> {
    let mut found = vec![
        program("runc", &options.runc, "runc"),
        program("pasta", &options.pasta, "passt"),
        program("nft", &options.nft, "nftables"),
        tun(),
    ];
    found.extend(inside(options));
    found
}

/// What the server needs of the machine wherever its tools run: no root, room in its data folder, a clock.
pub fn machine(data: &Path) -> [Finding; 3] {
    [user(), disk(data), clock(SystemTime::now())]
}

fn user() -> Finding {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        let mend = "start the server as an unprivileged user: scripts/prepare --run hythed serve";
        return Finding::lacking("unprivileged user", Verdict::Failure, "this is root", mend);
    }
    Finding::pass("unprivileged user", format!("user id {}", uid.as_raw()))
}

fn program(name: &str, path: &Path, package: &str) -> Finding {
    if path.is_file() {
        return Finding::pass(name, path.display().to_string());
    }
    let mend = format!("run as root: apt-get install {package}");
    Finding::lacking(name, Verdict::Failure, "not found in PATH", mend)
}

fn tun() -> Finding {
    match File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => Finding::pass("tun device", "/dev/net/tun can be opened"),
        Err(error) => {
            Finding::lacking("tun device", Verdict::Failure, format!("/dev/net/tun: {error}"), PREPARE)
        }
    }
}

/// Runs the helper's program in a folder of its own, so that one that serves is left alone.
fn inside(options: &HelperOptions) -> Vec<Finding> {
    let folder = options.root.with_extension(format!("probe-{}", std::process::id()));
    let result = attempt(options, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    let _ = std::fs::remove_file(folder.with_extension("log"));
    match result {
        Ok(trial) => verdicts(trial, options.require_cgroups),
        Err(why) => {
            vec![Finding::lacking("user namespaces", Verdict::Failure, why, PREPARE)]
        }
    }
}

fn attempt(options: &HelperOptions, folder: &Path) -> Result<Trial, String> {
    let mut command = Command::new(&options.program);
    command.arg("try").arg("--root").arg(folder).arg("--socket").arg(folder.with_extension("sock"));
    command
        .arg("--runc")
        .arg(&options.runc)
        .arg("--pasta")
        .arg(&options.pasta)
        .arg("--nft")
        .arg(&options.nft);
    command.args(["--cgroup", &options.cgroup]);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot start {}: {error}", options.program.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the helper's answer is not understood: {error}"))
}

fn verdicts(trial: Trial, require_cgroups: bool) -> Vec<Finding> {
    let one = |name: &str, failure: Option<String>, detail: &str, mend: &str| match failure {
        None => Finding::pass(name, detail),
        Some(why) => Finding::lacking(name, Verdict::Failure, why, mend),
    };
    let kernel =
        "use a kernel of 5.11 or later and a file system that overlayfs can write to (ext4, xfs, btrfs)";
    let without = if require_cgroups { Verdict::Failure } else { Verdict::Warning };
    vec![
        Finding::pass("user namespaces", "made, with subordinate ids"),
        one("overlay", trial.overlay, "mounted in a user namespace", kernel),
        one("runtime", trial.runc, "runc starts", "run as root: apt-get install runc"),
        one("sandbox network", trial.network, "namespace, packet filter and pasta work", PREPARE),
        match trial.cgroups {
            Ok(version) => Finding::pass("cgroups", format!("{version}, delegated: memory, cpu, pids")),
            Err(why) => Finding::lacking("cgroups", without, why, PREPARE),
        },
    ]
}

fn disk(root: &Path) -> Finding {
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(stat) = rustix::fs::statvfs(existing) else {
        return Finding::lacking("disk", Verdict::Failure, "cannot be looked at", "check the data folder");
    };
    space(stat.f_bavail * stat.f_frsize, &existing.display().to_string())
}

fn space(free: u64, place: &str) -> Finding {
    let detail = format!("{} free at {place}", hythe_model::render::size(free));
    let mend = "free some space, or put the data folder on a larger disk";
    match free {
        _ if free >= SPACE => Finding::pass("disk", detail),
        _ if free >= SPACE / 10 => Finding::lacking("disk", Verdict::Warning, detail, mend),
        _ => Finding::lacking("disk", Verdict::Failure, detail, mend),
    }
}

fn clock(now: SystemTime) -> Finding {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if seconds >= EARLIEST {
        return Finding::pass("clock", "plausible");
    }
    let mend = "set the clock, best by a time service (timedatectl set-ntp true)";
    Finding::lacking("clock", Verdict::Failure, "the clock is before 2026", mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_lacking_names_its_mend() {
        assert_eq!(space(50 << 30, "/data").verdict, Verdict::Pass);
        assert_eq!(space(2 << 30, "/data").verdict, Verdict::Warning);
        assert_eq!(space(1 << 20, "/data").verdict, Verdict::Failure);
        assert_eq!(clock(SystemTime::UNIX_EPOCH + Duration::from_secs(5)).verdict, Verdict::Failure);
        assert_eq!(clock(SystemTime::now()).verdict, Verdict::Pass);
        let broken = Trial {
            overlay: Some("no".into()),
            runc: None,
            network: Some("no".into()),
            cgroups: Err("none".into()),
        };
        let failures = |required| {
            let all = verdicts(broken.clone(), required);
            assert!(all.iter().all(|one| (one.verdict == Verdict::Pass) == one.mend.is_none()));
            all.into_iter().filter(|one| one.verdict == Verdict::Failure).count()
        };
        assert_eq!((failures(true), failures(false)), (3, 2));
    }
}
