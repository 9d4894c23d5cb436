//! The files beside an open store, in which `SQLite` keeps the newest transactions (`-wal`) and their index (`-shm`).
//!
//! `SQLite` opens them once. If another program removes or replaces one of them, `SQLite` continues with the file that
//! has lost its name, and what is written there is lost with the process. If the log is truncated, `SQLite` writes
//! behind its former end, where no next process finds it. The index is mapped into memory: if it is truncated, the next
//! access to its missing part ends the process with the signal `SIGBUS`.

use std::{
    cell::Cell,
    fs, io,
    path::{Path, PathBuf},
};

use rusqlite::config::DbConfig;

use super::{database::Database, file, problem::Problem};
use crate::store::StoreError;

/// The ends of the names of the files.
const WAL: &str = "-wal";
const SHM: &str = "-shm";
/// The sizes of the headers of a log and of each page in it.
const HEADER: u64 = 32;
const PAGE_HEADER: u64 = 24;

/// The identities of the files beside a store.
#[derive(Debug)]
pub(super) struct Logs {
    wal: Option<(u64, u64)>,
    shm: Option<(u64, u64)>,
    /// The size of the log when it was last looked at.
    wal_size: Cell<u64>,
    /// The size of the index when it was last looked at.
    shm_size: Cell<u64>,
}

/// What another program has done to the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// The log is not the one that was opened.
    WalMoved,
    /// The index, by which connections coordinate, is not the one that was opened; perhaps nor is the log.
    ShmMoved,
    /// The log is smaller than its index.
    WalCut,
    /// The index has become smaller.
    ShmCut,
}

impl Logs {
    /// Finds the files beside the store at `path`. They are not opened: closing them would end the locks that `SQLite`
    /// holds on them.
    pub(super) fn of(path: &Path) -> Result<Self, Problem> {
        let (wal, shm) = (beside(path, WAL), beside(path, SHM));
        Ok(Self {
            wal: file::identity(&wal)?,
            shm: file::identity(&shm)?,
            wal_size: Cell::new(size(&wal)?),
            shm_size: Cell::new(size(&shm)?),
        })
    }

    /// Returns the harm if one of the files is no longer the one found before, or the index has become smaller, which
    /// `SQLite` never makes it while it is open.
    pub(super) fn moved(&self, path: &Path) -> Result<Option<Harm>, Problem> {
        let is_moved = |before: Option<_>, end| {
            let now = file::identity(&beside(path, end))?;
            Ok::<_, Problem>(before.is_some() && before != now)
        };
        Ok(if is_moved(self.shm, SHM)? {
            Some(Harm::ShmMoved)
        } else if is_moved(self.wal, WAL)? {
            Some(Harm::WalMoved)
        } else if has_shrunk(&self.shm_size, &beside(path, SHM))? {
            Some(Harm::ShmCut)
        } else {
            None
        })
    }

    /// Returns `true` if the log is smaller than at the last look. `SQLite` itself makes it smaller when a program asks
    /// it to.
    pub(super) fn has_shrunk(&self, path: &Path) -> Result<bool, Problem> {
        has_shrunk(&self.wal_size, &beside(path, WAL))
    }

    /// Returns `true` if the log of the store at `path` is too small for this many pages.
    pub(super) fn is_cut(path: &Path, pages: u64, page_size: u64) -> Result<bool, Problem> {
        let pages = pages.saturating_mul(page_size.saturating_add(PAGE_HEADER));
        Ok(pages > 0 && size(&beside(path, WAL))? < pages.saturating_add(HEADER))
    }
}

impl Database {
    /// Returns what another program has done to the files beside the store at `path`, if anything.
    pub(super) fn harm(&self, path: &Path) -> Result<Option<Harm>, Problem> {
        let moved = self.logs.moved(path)?;
        if moved.is_none() && self.logs.has_shrunk(path)? && self.is_cut(path)? {
            return Ok(Some(Harm::WalCut));
        }
        Ok(moved)
    }

    /// Returns `true` if the log is smaller than its index.
    pub(super) fn is_cut(&self, path: &Path) -> Result<bool, Problem> {
        // This writes nothing.
        let look = "PRAGMA wal_checkpoint(NOOP)";
        let pages: i64 = self.connection.query_row(look, [], |row| row.get(1))?;
        let page_size: i64 = self
            .connection
            .pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = u64::try_from(pages).unwrap_or_default();
        Logs::is_cut(path, pages, page_size.unsigned_abs())
    }

    /// Closes the file after it has received what is in its log. Returns `false` if that is not certain.
    ///
    /// The connection can still read a log that has lost its name. Without the index, by which connections coordinate,
    /// the file is written only if no other process uses it: `SQLite` checks this when it closes the connection. Of a
    /// log that was truncated nothing is written, because a part of its pages would damage the file; the next
    /// connection reads the transactions that are left. An index that was truncated is not accessed; the next
    /// connection creates it from the log.
    pub(super) fn save(self, harm: Harm) -> bool {
        let is_saved = match harm {
            Harm::WalMoved => {
                let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
                let busy = self
                    .connection
                    .query_row(checkpoint, [], |row| row.get::<_, bool>(0));
                matches!(busy, Ok(false))
            }
            Harm::ShmMoved => false,
            Harm::WalCut | Harm::ShmCut => {
                let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
                let is_kept = self.connection.set_db_config(keep, true).is_ok();
                is_kept && harm == Harm::ShmCut
            }
        };
        self.connection.close().is_ok() && is_saved
    }
}

impl Harm {
    /// Returns the path of the file.
    pub(super) fn path(self, path: &Path) -> PathBuf {
        match self {
            Self::WalMoved | Self::WalCut => beside(path, WAL),
            Self::ShmMoved | Self::ShmCut => beside(path, SHM),
        }
    }

    /// Returns what has happened to the file, in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::WalMoved | Self::ShmMoved => "was removed or replaced while it was in use",
            Self::WalCut | Self::ShmCut => "was truncated while it was in use",
        }
    }
}

/// Returns `true` if the file at `path` is smaller than `before`, and updates that.
fn has_shrunk(before: &Cell<u64>, path: &Path) -> Result<bool, Problem> {
    let now = size(path)?;
    Ok(now < before.replace(now))
}

/// Returns the size of the file at `path`, which is 0 if there is none.
fn size(path: &Path) -> Result<u64, Problem> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => {
            let message = format!("cannot look at `{}`: {error}", path.display());
            Err(StoreError::Failed(message).into())
        }
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
