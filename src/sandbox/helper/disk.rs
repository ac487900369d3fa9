//! How much a tree takes on disk, and a watch that sees it grow.
//!
//! Enter at [`measure`] and [`Watch::look`]. Without a quota in the file system a limit can only be watched: cheap
//! looks at the file system's free space tell when a walk is worth its time.

use super::deleted;
use crate::Usage;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, fstatvfs, openat, statat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The least that an entry counts: an inode and its name, without which a million empty files would count as nothing.
const ENTRY_BYTES: u64 = 4096;
/// Folders within folders that are looked into. Nobody needs more; what hides deeper counts as beyond every limit.
const DEPTH: usize = 400;

/// Bytes and entries of a file or a tree; links are not followed, a file with several names counts once.
pub(super) fn measure(at: BorrowedFd<'_>, name: &str) -> Result<Usage, Errno> {
    let mut walk = Walk::new(u64::MAX);
    walk.tree(at, name)?;
    Ok(walk.usage)
}

/// What a file takes on disk.
pub(super) fn bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512).max(ENTRY_BYTES)
}

fn open_folder(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

struct Walk {
    usage: Usage,
    linked: HashSet<(u64, u64)>,
    /// Beyond so many bytes the rest is of no interest.
    most: u64,
}

impl Walk {
    fn new(most: u64) -> Self {
        Self { usage: Usage::default(), linked: HashSet::new(), most }
    }

    fn is_over(&self) -> bool {
        self.usage.bytes > self.most
    }

    fn tree(&mut self, at: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.count(&stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.folder(&open_folder(at, name)?, 0)?;
        }
        Ok(())
    }

    fn count(&mut self, stat: &Stat) {
        let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !folder && stat.st_nlink > 1 && !self.linked.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        self.usage.bytes = self.usage.bytes.saturating_add(bytes(stat));
        self.usage.files += 1;
    }

    fn folder(&mut self, folder: &OwnedFd, depth: usize) -> Result<(), Errno> {
        if depth > DEPTH {
            self.usage.bytes = u64::MAX;
            return Ok(());
        }
        for entry in Dir::read_from(folder)? {
            if self.is_over() {
                return Ok(());
            }
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // Whoever runs in there removes and replaces entries while they are counted.
            match self.entry(folder, name, depth) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &std::ffi::CStr, depth: usize) -> Result<(), Errno> {
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.count(&stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.folder(&open_folder(folder, name)?, depth + 1)?;
        }
        Ok(())
    }
}

/// Longest time between two walks, unless a walk itself takes long.
const IDLE: Duration = Duration::from_secs(2);

/// Folders that are watched together.
pub(super) struct Watch {
    folders: Vec<OwnedFd>,
    devices: HashSet<u64>,
    limit: u64,
    used: u64,
    walked: Instant,
    took: Duration,
    filled: u64,
}

impl Watch {
    /// Watches these folders.
    pub(super) fn new(folders: Vec<OwnedFd>, limit: u64) -> Self {
        let devices = folders.iter().filter_map(|folder| Some(fstat(folder).ok()?.st_dev)).collect();
        let (walked, took) = (Instant::now(), Duration::ZERO);
        let mut watch = Self { folders, devices, limit, used: 0, walked, took, filled: 0 };
        watch.filled = watch.filled();
        watch
    }

    /// Bytes as of the last walk.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Whether the limit is exceeded. Walks where the disk has filled by half of what is left, and every two seconds;
    /// never more than a third of the time. What `processes` have deleted and hold open counts too.
    pub(super) fn look(&mut self, processes: impl FnOnce() -> Vec<i32>) -> bool {
        let filled = self.filled();
        let since = self.walked.elapsed();
        let left = self.limit.saturating_sub(self.used);
        let grown = filled.saturating_sub(self.filled) > left / 2;
        if since < self.took * 2 || (!grown && since < IDLE) {
            return false;
        }
        let begun = Instant::now();
        self.used = self.walk(deleted::count(&processes(), &self.devices));
        self.took = begun.elapsed();
        self.walked = Instant::now();
        self.filled = filled;
        self.used > self.limit
    }

    /// Bytes of all folders and those found elsewhere, as far as the limit. A walk that fails has seen too little: what
    /// was used before stands then.
    fn walk(&self, elsewhere: u64) -> u64 {
        let mut walk = Walk::new(self.limit);
        walk.usage.bytes = elsewhere;
        let walked = self.folders.iter().try_for_each(|folder| walk.tree(folder.as_fd(), "."));
        if walked.is_ok() { walk.usage.bytes } else { walk.usage.bytes.max(self.used) }
    }

    /// Bytes in use on the file system of the first folder.
    fn filled(&self) -> u64 {
        let Some(stat) = self.folders.first().and_then(|folder| fstatvfs(folder).ok()) else { return 0 };
        stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::path::PathBuf;

    fn folder_of(name: &str, files: u32) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("hythe-disk-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for number in 0..files {
            File::create(folder.join(number.to_string())).unwrap();
        }
        folder
    }

    #[test]
    fn a_walk_ends_where_the_limit_is_passed() {
        let folder = folder_of("ends", 500);
        let file = OwnedFd::from(File::open(&folder).unwrap());
        assert!(
            measure(file.as_fd(), ".").unwrap().bytes >= 500 * ENTRY_BYTES,
            "an empty file takes an inode"
        );
        let mut walk = Walk::new(10 * ENTRY_BYTES);
        walk.tree(file.as_fd(), ".").unwrap();
        assert!(walk.is_over() && walk.usage.files < 20, "{:?}", walk.usage);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_walk_that_fails_forgets_nothing() {
        let folder = folder_of("fails", 3);
        // A file in place of a folder is what no walk can enter.
        let broken = OwnedFd::from(File::open(folder.join("0")).unwrap());
        let mut watch = Watch::new(vec![broken, File::open(&folder).unwrap().into()], 1 << 30);
        watch.used = 5 << 20;
        assert_eq!(watch.walk(0), 5 << 20);
        assert_eq!(watch.walk(6 << 20), 6 << 20);
        fs::remove_dir_all(folder).unwrap();
    }
}
