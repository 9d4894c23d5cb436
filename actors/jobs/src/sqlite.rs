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

use std::sync::Arc;

use kebne_file::{FileError, Owners};
use kebne_seal::Keyring;
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use crate::model::{Ended, Notice, State, StoreError};

pub use batches::Collecting;
pub(crate) use open::Place;

/// An open store.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    owners: Owners,
    /// The owner whose job was leased last.
    last_owner: i64,
}

type Result<T> = std::result::Result<T, StoreError>;

impl From<FileError> for StoreError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Failed(message) => Self::Failed(message),
            FileError::Damaged(message) => Self::Damaged(message),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        FileError::from(error).into()
    }
}

impl From<kebne_seal::SealError> for StoreError {
    fn from(error: kebne_seal::SealError) -> Self {
        FileError::from(error).into()
    }
}

impl Database {
    /// Runs a step as one transaction. It is committed only if `commits` returns `true` behind it.
    pub(crate) fn step<T>(
        &mut self,
        commits: impl FnOnce() -> bool,
        step: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = step(self).and_then(|value| {
            if !commits() {
                let why = "the step took longer than its caller waited";
                return Err(StoreError::Failed(why.to_owned()));
            }
            self.connection.execute_batch("COMMIT")?;
            Ok(value)
        });
        if done.is_err() {
            // A failed commit may have closed the transaction already.
            self.connection.execute_batch("ROLLBACK").ok();
            // Keys of owners that were created in it do not exist.
            self.owners.clear();
        }
        done
    }

    /// Takes removed data out of the log of the file too.
    pub(crate) fn forget_log(&mut self) -> Result<()> {
        let pragma = "PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(self.connection.query_row(pragma, [], |_| Ok(()))?)
    }

    /// Returns the number of an owner; `None` if nothing is known of it.
    fn owner(&self, name: &str) -> Result<Option<i64>> {
        Ok(Owners::find(&self.connection, name)?)
    }

    fn owner_or_new(&mut self, name: &str) -> Result<i64> {
        Ok(self.owners.find_or_create(&self.connection, name)?)
    }

    fn name_of(&self, owner: i64) -> Result<String> {
        let find = "SELECT name FROM owners WHERE number = ?1";
        let mut find = self.connection.prepare_cached(find)?;
        Ok(find.query_row([owner], |row| row.get(0))?)
    }

    /// Returns the key of an owner; `None` if the file is not encrypted.
    fn key_of(&mut self, owner: i64) -> Result<Option<Arc<Keyring>>> {
        Ok(self.owners.key(&self.connection, owner)?)
    }

    fn seal(&mut self, owner: i64, plain: &[u8], about: &str) -> Result<Vec<u8>> {
        match self.key_of(owner)? {
            Some(key) => Ok(key.seal(plain, about)?),
            None => Ok(plain.to_vec()),
        }
    }

    fn open(&mut self, owner: i64, sealed: Vec<u8>, about: &str) -> Result<Vec<u8>> {
        let Some(key) = self.key_of(owner)? else {
            return Ok(sealed);
        };
        let opened = key.open(&sealed, about);
        let damaged = || StoreError::Damaged(format!("`{about}` cannot be decrypted"));
        opened.map(|(plain, _)| plain).ok_or_else(damaged)
    }

    /// Opens a piece of data. One that cannot be decrypted is logged and counts as empty, so that it does not stop what is behind it.
    fn open_or_empty(&mut self, owner: i64, sealed: Vec<u8>, about: &str) -> Result<Vec<u8>> {
        match self.open(owner, sealed, about) {
            Err(StoreError::Damaged(error)) => {
                tracing::error!(error, "a piece of the store of jobs cannot be read");
                Ok(Vec::new())
            }
            opened => opened,
        }
    }

    fn seal_value<T: Serialize>(&mut self, owner: i64, value: &T, about: &str) -> Result<Vec<u8>> {
        let plain = serde_json::to_vec(value);
        let plain = plain.map_err(|error| StoreError::Failed(error.to_string()))?;
        self.seal(owner, &plain, about)
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
        let target = self.open_or_empty(owner, target, &about("notify", &ended.id))?;
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
        let remove = "DELETE FROM owners WHERE number = ?1
            AND NOT EXISTS (SELECT 1 FROM jobs WHERE owner = ?1)
            AND NOT EXISTS (SELECT 1 FROM batches WHERE owner = ?1)
            AND NOT EXISTS (SELECT 1 FROM deliveries WHERE owner = ?1)";
        let is_gone = self.connection.execute(remove, [owner])? > 0;
        if is_gone {
            self.owners.forget(owner);
        }
        Ok(is_gone)
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
            .connection
            .execute(batches, params![before, ROWS_AT_ONCE])?;
        if removed > 0 {
            let owners: Vec<i64> = {
                let mut owners = self
                    .connection
                    .prepare_cached("SELECT number FROM owners")?;
                let owners = owners.query_map([], |row| row.get(0))?;
                owners.collect::<rusqlite::Result<_>>()?
            };
            for owner in owners {
                self.forget_owner(owner)?;
            }
        }
        Ok(removed as u64)
    }

    /// Removes jobs for which a condition on a number holds: so many bytes of them, and one at least. Returns how many.
    fn remove_jobs(&mut self, condition: &str, of: i64, bytes_max: u64) -> Result<usize> {
        let select = format!("SELECT number, bytes FROM jobs WHERE {condition} LIMIT ?2");
        let found: Vec<(i64, u64)> = {
            let mut select = self.connection.prepare_cached(&select)?;
            let rows = select.query_map(params![of, ROWS_AT_ONCE], |row| {
                Ok((row.get(0)?, number(row, 1)?))
            })?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        let (mut removed, mut bytes) = (0, 0);
        let mut remove = self
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
