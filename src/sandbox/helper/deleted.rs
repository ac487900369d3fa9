//! Files that a sandbox has deleted and holds open: they take disk, and no walk of a folder finds them.
//!
//! Enter at [`count`]. What is mapped or on its way through a socket, and open nowhere, is not seen.

use super::cgroup::Cgroups;
use crate::kernel;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, statat, statfs};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Open files that are looked at. Nobody needs more; who has more counts as beyond every limit.
const MOST: u64 = 1 << 20;
/// File systems whose files are memory, which has a limit of its own: tmpfs (and `memfd_create`) and huge pages.
const MEMORY: [i64; 2] = [0x0102_1994, 0x9584_58f6];

/// Bytes of all files without a name that these processes hold open, each counted once. Files in memory count only
/// where they lie on one of these devices.
pub(super) fn count(processes: &[i32], devices: &HashSet<u64>) -> u64 {
    let mut look = Look { devices, seen: HashSet::new(), looks: 0, bytes: 0 };
    for pid in processes {
        look.process(*pid);
    }
    if look.looks > MOST { u64::MAX } else { look.bytes }
}

/// The processes of a sandbox, by its group or, where there are none, by the PID namespace of its first process.
pub(super) fn processes(cgroups: &Cgroups, id: &str, first: i32) -> Vec<i32> {
    if *cgroups != Cgroups::None {
        return cgroups.processes(id);
    }
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(first) else { return Vec::new() };
    numbers(Path::new("/proc")).into_iter().filter(|pid| namespace(*pid).as_ref() == Some(&own)).collect()
}

/// The entries of a folder that are numbers.
fn numbers(folder: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

struct Look<'a> {
    devices: &'a HashSet<u64>,
    seen: HashSet<(u64, u64)>,
    looks: u64,
    bytes: u64,
}

impl Look<'_> {
    /// A thread may have open files of its own, and the first thread may have ended before the others.
    fn process(&mut self, pid: i32) {
        let tasks = PathBuf::from(format!("/proc/{pid}/task"));
        for task in numbers(&tasks) {
            if task == pid || !kernel::share_files(pid, task) {
                self.table(&tasks.join(task.to_string()).join("fd"));
            }
        }
    }

    /// Whoever runs in there opens and closes while this looks: what is gone is left out.
    fn table(&mut self, folder: &Path) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(fds) = rustix::fs::open(folder, flags, Mode::empty()) else { return };
        let Ok(entries) = Dir::read_from(&fds) else { return };
        for entry in entries.flatten() {
            self.looks += 1;
            if self.looks > MOST {
                return;
            }
            let _ = self.file(folder, &fds, entry.file_name());
        }
    }

    fn file(&mut self, folder: &Path, fds: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        let stat = statat(fds, name, AtFlags::empty())?;
        if !is_deleted(&stat) || !self.seen.insert((stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        let name = name.to_str().unwrap_or_default();
        if self.devices.contains(&stat.st_dev) || !MEMORY.contains(&statfs(folder.join(name))?.f_type) {
            self.bytes = self.bytes.saturating_add(super::disk::bytes(&stat));
        }
        Ok(())
    }
}

fn is_deleted(stat: &Stat) -> bool {
    stat.st_nlink == 0 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::process::Command;

    #[test]
    fn open_files_without_a_name_count_once_and_those_in_memory_do_not() {
        let path = std::env::temp_dir().join(format!("hythe-deleted-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        let mut memory = File::from(rustix::fs::memfd_create("m", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        memory.write_all(&vec![7; 4 << 20]).unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("60").stdin(file.try_clone().unwrap()).stdout(file).stderr(memory.try_clone().unwrap());
        let mut child = sleep.spawn().unwrap();
        let look = |devices| count(&[child.id().cast_signed()], &devices);
        assert_eq!(look(HashSet::new()), 0, "it still has a name");
        std::fs::remove_file(&path).unwrap();
        let found = look(HashSet::new());
        assert!((1 << 20..2 << 20).contains(&found), "{found}");
        // A data folder that is itself in memory is a disk all the same.
        let device = rustix::fs::fstat(&memory).unwrap().st_dev;
        assert!(look(HashSet::from([device])) >= found + (4 << 20));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(count(&[i32::MAX], &HashSet::new()), 0, "a process that is gone is no error");
    }
}
