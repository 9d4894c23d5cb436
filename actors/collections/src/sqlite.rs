//! The store of record in an `SQLite` file.
//!
//! Each owner has a key of its own, which the key of the settings encrypts: to replace the key of the settings encrypts these few keys
//! anew. A transaction is in the operating system's memory when it ends, so it survives the end of the process at any moment.
//! The owner is a condition of each query. Removed data is overwritten (`secure_delete`).

mod batches;
mod collections;
mod embedding;
mod erasure;
mod files;
mod import;
mod ingestion;
mod members;
mod open;
mod owners;
mod reading;
mod totals;

use std::{cell::Cell, sync::Arc};

use kebne_file::{FileError, Owners};
use rusqlite::{Connection, Row};
use serde::{Serialize, de::DeserializeOwned};

use crate::model::{StoreError, Thing};

pub(crate) use embedding::Outcome;
pub(crate) use ingestion::{Job, Lane, SERVER_ERROR, failure};
pub(crate) use open::Place;
pub(crate) use reading::Visible;

/// Days in milliseconds.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// An open store.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    owners: Owners,
    /// The name of the space of the embedder's vectors.
    space_name: Arc<str>,
    /// Its number, once it is known.
    space: Cell<Option<i64>>,
    /// `true` if data was removed that may be in the log of the file.
    has_removed: bool,
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

    /// Returns `true` if data was removed that may be in the log of the file.
    pub(crate) fn has_removed(&self) -> bool {
        self.has_removed
    }

    /// Takes removed data out of the log of the file too, as far as no reader needs it.
    pub(crate) fn forget_log(&mut self) -> Result<()> {
        self.has_removed = false;
        let pragma = "PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(self.connection.query_row(pragma, [], |_| Ok(()))?)
    }

    fn seal<T: Serialize>(&mut self, owner: i64, value: &T, about: &str) -> Result<Vec<u8>> {
        let plain = serde_json::to_vec(value);
        let plain = plain.map_err(|error| StoreError::Failed(error.to_string()))?;
        self.seal_bytes(owner, plain, about)
    }

    fn seal_bytes(&mut self, owner: i64, plain: Vec<u8>, about: &str) -> Result<Vec<u8>> {
        match self.key_of(owner)? {
            Some(key) => Ok(key.seal(&plain, about)?),
            None => Ok(plain),
        }
    }

    fn open_piece<T: DeserializeOwned>(
        &mut self,
        owner: i64,
        sealed: &[u8],
        about: &str,
    ) -> Result<T> {
        let plain = self.open_bytes(owner, sealed, about)?;
        let value = serde_json::from_slice(&plain);
        value.map_err(|error| StoreError::Damaged(format!("`{about}`: {error}")))
    }

    fn open_bytes(&mut self, owner: i64, sealed: &[u8], about: &str) -> Result<Vec<u8>> {
        match self.key_of(owner)? {
            None => Ok(sealed.to_vec()),
            Some(key) => match key.open(sealed, about) {
                Some((plain, _)) => Ok(plain),
                None => Err(StoreError::Damaged(format!(
                    "`{about}` cannot be decrypted"
                ))),
            },
        }
    }
}

/// Returns a number of a row; the store has no negative ones.
fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(i64::unsigned_abs)
}

/// Returns a number as it is stored.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn found<T>(found: Option<T>, thing: Thing) -> Result<T> {
    found.ok_or(StoreError::NotFound(thing))
}
