//! How much a tree takes on disk, and a watch that sees it grow.
//!
//! Enter at [`measure`] and [`Watch::look`]. Without a quota in the file system a limit can only be watched: cheap
//! looks at the file system's free space tell when a walk is worth its time.

use crate::Usage;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstatvfs, openat, statat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// What an entry takes besides its blocks: an inode, without which a million empty files would count as nothing.
const ENTRY_BYTES: u64 = 512;
/// Folders within folders that are looked into. Nobody needs more; what hides deeper counts as beyond every limit.
const DEPTH: usize = 400;

/// Bytes and entries of a file or a tree; links are not followed, a file with several names counts once.
pub(super) fn measure(at: BorrowedFd<'_>, name: &str) -> Result<Usage, Errno> {
    let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut walk = Walk::default();
    walk.count(&stat);
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        walk.folder(&open_folder(at, name)?, 0)?;
    }
    Ok(walk.usage)
}

fn open_folder(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

#[derive(Default)]
struct Walk {
    usage: Usage,
    linked: HashSet<(u64, u64)>,
}

impl Walk {
    fn count(&mut self, stat: &Stat) {
        let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !folder && stat.st_nlink > 1 && !self.linked.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
        self.usage.bytes = self.usage.bytes.saturating_add(blocks).saturating_add(ENTRY_BYTES);
        self.usage.files += 1;
    }

    fn folder(&mut self, folder: &OwnedFd, depth: usize) -> Result<(), Errno> {
        if depth > DEPTH {
            self.usage.bytes = u64::MAX;
            return Ok(());
        }
        for entry in Dir::read_from(folder)? {
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
    limit: u64,
    used: u64,
    walked: Instant,
    took: Duration,
    filled: u64,
}

impl Watch {
    /// Watches these folders.
    pub(super) fn new(folders: Vec<OwnedFd>, limit: u64) -> Self {
        let mut watch =
            Self { folders, limit, used: 0, walked: Instant::now(), took: Duration::ZERO, filled: 0 };
        watch.filled = watch.filled();
        watch
    }

    /// Bytes as of the last walk.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Whether the limit is exceeded. Walks where the disk has filled by half of what is left, and every two seconds;
    /// never more than a third of the time.
    pub(super) fn look(&mut self) -> bool {
        let filled = self.filled();
        let since = self.walked.elapsed();
        let left = self.limit.saturating_sub(self.used);
        let grown = filled.saturating_sub(self.filled) > left / 2;
        if since < self.took * 2 || (!grown && since < IDLE) {
            return false;
        }
        let begun = Instant::now();
        let sizes = self.folders.iter().map(|folder| measure(folder.as_fd(), ".").unwrap_or_default().bytes);
        self.used = sizes.fold(0, u64::saturating_add);
        self.took = begun.elapsed();
        self.walked = Instant::now();
        self.filled = filled;
        self.used > self.limit
    }

    /// Bytes in use on the file system of the first folder.
    fn filled(&self) -> u64 {
        let Some(stat) = self.folders.first().and_then(|folder| fstatvfs(folder).ok()) else { return 0 };
        stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize
    }
}
