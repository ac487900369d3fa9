//! Control groups: where limits hold and use is counted.
//!
//! Enter at [`Cgroups::find`]. `runc` makes a sandbox's group and writes its limits; this file finds the delegated
//! place for it, reads the counters and clears up after a helper that died. Both versions have the same shape here.

use rustix::fs::Access;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";
/// Controllers without which limits do not hold.
const NEEDED: [&str; 3] = ["memory", "cpu", "pids"];

/// The delegated place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cgroups {
    /// None: no limit of memory, CPU or processes holds.
    None,
    /// A folder below each controller of version 1, as in `/hythe/1a2b3c4d`.
    V1 {
        /// The folder.
        folder: String,
    },
    /// A folder of the unified tree.
    V2 {
        /// The folder, relative to the mount, beginning with a slash.
        folder: String,
    },
}

impl Cgroups {
    /// Finds the place and makes a folder named `key` in it; else says why there is none.
    pub(super) fn find(name: &str, key: &str) -> (Self, Option<String>) {
        let found =
            if Path::new(MOUNT).join("cgroup.controllers").exists() { v2(name, key) } else { v1(name, key) };
        match found {
            Ok(cgroups) => {
                cgroups.clear();
                (cgroups, None)
            }
            Err(why) => (Self::None, Some(why)),
        }
    }

    /// The version, for people.
    pub(super) fn version(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::V1 { .. } => "v1",
            Self::V2 { .. } => "v2",
        }
    }

    /// `linux.cgroupsPath` of a sandbox's bundle.
    pub(super) fn path_for(&self, id: &str) -> Option<String> {
        match self {
            Self::None => None,
            Self::V1 { folder } | Self::V2 { folder } => Some(format!("{folder}/{id}")),
        }
    }

    /// Whether memory and swap can be limited together.
    pub(super) fn limits_swap(&self) -> bool {
        match self {
            Self::None => false,
            Self::V1 { folder } => below("memory", folder).join("memory.memsw.limit_in_bytes").exists(),
            Self::V2 { folder } => below("", folder).join("memory.swap.max").exists(),
        }
    }

    /// Processes of the sandbox that the kernel killed for its memory limit.
    pub(super) fn oom_kills(&self, id: &str) -> u64 {
        match self {
            Self::None => 0,
            Self::V1 { folder } => {
                field(&below("memory", folder).join(id).join("memory.oom_control"), "oom_kill")
            }
            Self::V2 { folder } => field(&below("", folder).join(id).join("memory.events"), "oom_kill"),
        }
    }

    /// Memory, its peak, CPU microseconds, processes.
    pub(super) fn usage(&self, id: &str) -> (u64, u64, u64, u64) {
        match self {
            Self::None => (0, 0, 0, 0),
            Self::V1 { folder } => {
                let file = |controller, file| number(&below(controller, folder).join(id).join(file));
                (
                    file("memory", "memory.usage_in_bytes"),
                    file("memory", "memory.max_usage_in_bytes"),
                    file("cpuacct", "cpuacct.usage") / 1000,
                    file("pids", "pids.current"),
                )
            }
            Self::V2 { folder } => {
                let at = below("", folder).join(id);
                let cpu = field(&at.join("cpu.stat"), "usage_usec");
                (
                    number(&at.join("memory.current")),
                    number(&at.join("memory.peak")),
                    cpu,
                    number(&at.join("pids.current")),
                )
            }
        }
    }

    /// The processes of the sandbox, as this process counts them.
    pub(super) fn processes(&self, id: &str) -> Vec<i32> {
        let file = match self {
            Self::None => return Vec::new(),
            Self::V1 { folder } => below("pids", folder),
            Self::V2 { folder } => below("", folder),
        };
        let text = std::fs::read_to_string(file.join(id).join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Removes the groups of one sandbox, where `runc` has left any.
    pub(super) fn remove(&self, id: &str) {
        for folder in self.folders() {
            remove_tree(&folder.join(id));
        }
    }

    /// Removes what a helper before this one has left; its processes died with it.
    fn clear(&self) {
        for folder in self.folders() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
                remove_tree(&entry.path());
            }
        }
    }

    /// Removes the place itself.
    pub(super) fn leave(&self) {
        self.folders().iter().for_each(|folder| remove_tree(folder));
    }

    fn folders(&self) -> Vec<PathBuf> {
        match self {
            Self::None => Vec::new(),
            Self::V1 { folder } => {
                controllers_v1().iter().map(|controller| below(controller, folder)).collect()
            }
            Self::V2 { folder } => vec![below("", folder)],
        }
    }
}

fn below(controller: &str, folder: &str) -> PathBuf {
    Path::new(MOUNT).join(controller).join(folder.trim_start_matches('/'))
}

fn controllers_v1() -> Vec<String> {
    let entries = std::fs::read_dir(MOUNT).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != "unified")
        .collect()
}

fn v1(name: &str, key: &str) -> Result<Cgroups, String> {
    let folder = format!("/{name}/{key}");
    for controller in controllers_v1() {
        let made = make(&below(&controller, &folder));
        if let (Err(error), true) = (made, NEEDED.contains(&controller.as_str())) {
            return Err(format!(
                "{MOUNT}/{controller}/{name} is not delegated ({error}): as root, run scripts/prepare"
            ));
        }
    }
    let missing: Vec<_> = NEEDED.into_iter().filter(|needed| !below(needed, &folder).is_dir()).collect();
    if !missing.is_empty() {
        return Err(format!("the cgroup controllers {} are not mounted below {MOUNT}", missing.join(", ")));
    }
    fill_cpuset(name, key);
    Ok(Cgroups::V1 { folder })
}

/// A cpuset takes no process until it has CPUs and memory nodes.
fn fill_cpuset(name: &str, key: &str) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let above = std::fs::read_to_string(below("cpuset", name).join(file)).unwrap_or_default();
        let _ = std::fs::write(below("cpuset", name).join(key).join(file), above.trim());
    }
}

/// The group this process is in, when it was delegated (a systemd unit with `Delegate=yes`), or the group beside
/// `server` in a subtree that root made (`scripts/prepare --run`). A group with processes of its own can limit no
/// groups in it, so the server's processes move into `server` first.
fn v2(name: &str, key: &str) -> Result<Cgroups, String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let parent = own.strip_suffix("/server").filter(|parent| writable(&below("", parent)));
    let base = parent.unwrap_or(&own).trim_end_matches('/').to_owned();
    if base.is_empty() || !writable(&below("", &base)) {
        return Err(format!(
            "the cgroup {own} is not delegated: start the server by a systemd unit with Delegate=yes, or by \
             scripts/prepare --run, which places it in {MOUNT}/{name}"
        ));
    }
    let at = below("", &base);
    make(&at.join("server")).map_err(|error| format!("{}: {error}", at.display()))?;
    for pid in std::fs::read_to_string(at.join("cgroup.procs")).unwrap_or_default().lines() {
        let _ = std::fs::write(at.join("server/cgroup.procs"), pid);
    }
    let folder = format!("{base}/{key}");
    enable(&at)?;
    make(&below("", &folder)).map_err(|error| format!("{folder}: {error}"))?;
    enable(&below("", &folder))?;
    Ok(Cgroups::V2 { folder })
}

fn enable(folder: &Path) -> Result<(), String> {
    for controller in NEEDED {
        std::fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")).map_err(|error| {
            format!("the controller {controller} is not delegated in {}: {error}", folder.display())
        })?;
    }
    Ok(())
}

fn make(folder: &Path) -> std::io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn writable(folder: &Path) -> bool {
    rustix::fs::access(folder.join("cgroup.procs"), Access::WRITE_OK).is_ok()
        && rustix::fs::access(folder, Access::WRITE_OK).is_ok()
}

/// Removes a group and those in it; files of a control group vanish with it. Groups with processes stay.
fn remove_tree(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_tree(&entry.path());
    }
    let _ = std::fs::remove_dir(folder);
}

fn number(path: &Path) -> u64 {
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

fn field(path: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}
