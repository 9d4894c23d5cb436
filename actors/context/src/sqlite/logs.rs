//! The files beside an open store, in which `SQLite` keeps the newest transactions (`-wal`) and their index (`-shm`).
//!
//! `SQLite` opens them once. If another program removes or replaces one of them, `SQLite` continues with the file that
//! has lost its name, and what is written there is lost with the process.

use std::path::{Path, PathBuf};

use super::{file, problem::Problem};

/// The ends of the names of the files.
const WAL: &str = "-wal";
const SHM: &str = "-shm";

/// The identities of the files beside a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Logs {
    wal: Option<(u64, u64)>,
    shm: Option<(u64, u64)>,
}

/// A file that is not the one that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Only the `-wal` file.
    Wal,
    /// The `-shm` file, by which connections coordinate; perhaps the `-wal` file too.
    Shm,
}

impl Logs {
    /// Finds the files beside the store at `path`. They are not opened: closing them would end the locks that `SQLite`
    /// holds on them.
    pub(super) fn of(path: &Path) -> Result<Self, Problem> {
        Ok(Self {
            wal: file::identity(&beside(path, WAL))?,
            shm: file::identity(&beside(path, SHM))?,
        })
    }

    /// Returns the file that is no longer the one found before, if any.
    pub(super) fn moved(&self, path: &Path) -> Result<Option<Moved>, Problem> {
        let now = Self::of(path)?;
        let is_moved = |before: Option<_>, now| before.is_some() && before != now;
        Ok(if is_moved(self.shm, now.shm) {
            Some(Moved::Shm)
        } else if is_moved(self.wal, now.wal) {
            Some(Moved::Wal)
        } else {
            None
        })
    }
}

impl Moved {
    /// Returns the path of the file.
    pub(super) fn path(self, path: &Path) -> PathBuf {
        beside(
            path,
            match self {
                Self::Wal => WAL,
                Self::Shm => SHM,
            },
        )
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
