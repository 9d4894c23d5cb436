//! Space that is kept beside a file, and given up while the disk is full, so that data can still be removed.
//!
//! `SQLite` writes a removal to its log before it changes the file: without space, nothing can be removed.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// A file that holds nothing but space.
#[derive(Clone, Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
}

/// The space that others leave on the disk at least when a reserve is made, as a multiple of it.
const LEFT: u64 = 2;
/// The least space that is of use: what a few small removals need.
const PART_MIN: u64 = 1 << 18;

impl Reserve {
    /// Creates the reserve of a file, which takes no space yet.
    pub fn beside(file: &Path, bytes: u64) -> Self {
        let mut path = OsString::from(file);
        path.push("-reserve");
        Self {
            path: path.into(),
            bytes,
        }
    }

    /// Takes the space, if the disk has much more. Without it, nothing can be removed while the disk is full.
    pub fn take(&self) {
        if !self.is_taken() && self.left().is_some_and(|left| left >= self.bytes * LEFT) {
            self.take_back();
        }
    }

    /// Gives the space up if the disk has less than this left. Returns `true` if it did.
    pub fn give_up(&self) -> bool {
        let is_short = self.left().is_some_and(|left| left < self.bytes);
        is_short && fs::remove_file(&self.path).is_ok()
    }

    /// Takes the space again that was given up, or as much of it as there is: what was in the log may be in the file now, which has grown.
    pub fn take_back(&self) {
        let mut bytes = self.bytes;
        while let Err(error) = self.allocate(bytes) {
            bytes -= bytes / 8;
            if bytes < PART_MIN {
                fs::remove_file(&self.path).ok();
                let path = self.path.display();
                tracing::debug!(%error, %path, "there is no space for a reserve");
                return;
            }
        }
    }

    fn is_taken(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.len() == self.bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        let file = options.open(&self.path)?;
        // Another size may have been set.
        file.set_len(0)?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        Ok(())
    }

    /// Returns the bytes that the disk has left; `None` if it is not known.
    fn left(&self) -> Option<u64> {
        let folder = self.path.parent().filter(|path| *path != Path::new(""));
        let disk = statvfs(folder.unwrap_or_else(|| Path::new("."))).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}
