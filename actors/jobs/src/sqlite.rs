//! The store of record in an `SQLite` file.
//!
//! Each owner has a key of its own, which the key of the settings encrypts. A transaction is on the disk when it ends, so that a job which is
//! acknowledged survives the end of the process and of the machine. The owner is a condition of each query of a caller. Removed data is
//! overwritten (`secure_delete`).

mod batches;
mod deliveries;
mod erasure;
mod jobs;
mod leases;
mod open;

use kebne_file::{FileError, OpenFile};
use rusqlite::{Row, params};

use crate::model::{Ended, Notice, State, StoreError};

pub use batches::Collecting;
pub(crate) use open::Place;

/// An open store.
#[derive(Debug)]
pub(crate) struct Database {
    file: OpenFile,
    /// The owner whose job was leased last.
    last_owner: i64,
}

type Result<T> = std::result::Result<T, StoreError>;

kebne_file::store_errors_from_file!(StoreError);

impl Database {
    /// Opens a piece of data. One that cannot be decrypted is logged and counts as empty, so that it does not stop what is behind it.
    fn open_or_empty(&mut self, owner: i64, sealed: &[u8], about: &str) -> Result<Vec<u8>> {
        match self.file.open(owner, sealed, about) {
            Err(FileError::Damaged(error)) => {
                tracing::error!(error, "a piece of the store of jobs cannot be read");
                Ok(Vec::new())
            }
            opened => Ok(opened?),
        }
    }

    /// Writes the notice of the end of something, if its owner wants one. It belongs to the transaction of the end.
    fn note_end(
        &mut self,
        (owner, target): (i64, Option<Vec<u8>>),
        (kind, ended): (&str, &Ended),
        now: u64,
    ) -> Result<()> {
        let Some(target) = target else {
            return Ok(());
        };
        let target = self.open_or_empty(owner, &target, &about("notify", &ended.id))?;
        let notice = Notice {
            target: String::from_utf8_lossy(&target).into_owned(),
            kind: kind.to_owned(),
            of: ended.id.clone(),
            state: ended.state.name().to_owned(),
            at: now,
        };
        self.add_delivery(owner, &notice, now)
    }

    /// Removes an owner's key if nothing of it is left.
    fn forget_owner(&mut self, owner: i64) -> Result<bool> {
        let tables = ["jobs", "batches", "deliveries"];
        Ok(self.file.remove_owner_unless_in(owner, &tables)?)
    }

    /// Removes jobs and batches that ended before a time, a part of them, and the keys of owners of whom nothing is left. Returns how many
    /// were removed.
    pub(crate) fn sweep(&mut self, before: u64, bytes_max: u64) -> Result<u64> {
        let before = stored(before);
        // The jobs of a batch that is not collected stay.
        let ended = "ended < ?1 AND (batch IS NULL OR batch NOT IN (SELECT number FROM batches WHERE ended IS NULL))";
        let mut removed = self.remove_jobs(ended, before, bytes_max)?;
        let batches = "DELETE FROM batches WHERE number IN (SELECT number FROM batches WHERE ended < ?1 LIMIT ?2)";
        removed += self
            .file
            .connection
            .execute(batches, params![before, ROWS_AT_ONCE])?;
        if removed > 0 {
            for owner in self.file.all_owners()? {
                self.forget_owner(owner)?;
            }
        }
        Ok(removed as u64)
    }

    /// Removes jobs for which a condition on a number holds: so many bytes of them, and one at least. Returns how many.
    fn remove_jobs(&mut self, condition: &str, of: i64, bytes_max: u64) -> Result<usize> {
        let select = format!("SELECT number, bytes FROM jobs WHERE {condition} LIMIT ?2");
        let found: Vec<(i64, u64)> = {
            let mut select = self.file.connection.prepare_cached(&select)?;
            let rows = select.query_map(params![of, ROWS_AT_ONCE], |row| {
                Ok((row.get(0)?, number(row, 1)?))
            })?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        let (mut removed, mut bytes) = (0, 0);
        let mut remove = self
            .file
            .connection
            .prepare_cached("DELETE FROM jobs WHERE number = ?1")?;
        for (number, of_job) in found {
            if removed > 0 && bytes + of_job > bytes_max {
                break;
            }
            bytes += of_job;
            removed += remove.execute([number])?;
        }
        Ok(removed)
    }
}

/// Rows that one step removes of each table, so that other steps do not wait long.
const ROWS_AT_ONCE: i64 = 500;

/// Returns what a sealed piece is about, so that it opens in its place only.
fn about(part: &str, id: &str) -> String {
    format!("{part}/{id}")
}

/// Returns a number of a row; the store has no negative ones.
fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(i64::unsigned_abs)
}

fn optional(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(i64::unsigned_abs))
}

fn state(row: &Row<'_>, index: usize) -> rusqlite::Result<State> {
    let name: String = row.get(index)?;
    Ok(State::named(&name).unwrap_or(State::Failed))
}

/// Returns a number as it is stored.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns a time later than another one.
fn later(now: u64, span: std::time::Duration) -> u64 {
    now.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
