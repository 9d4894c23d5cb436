//! The store of record in an `SQLite` file.
//!
//! Each owner has a key of its own, which the key of the settings encrypts: to replace the key of the settings encrypts these few keys
//! anew. A transaction is in the operating system's memory when it ends, so it survives the end of the process at any moment.
//! The owner is a condition of each query. Removed data is overwritten (`secure_delete`).

mod collections;
mod files;
mod import;
mod ingestion;
mod members;
mod open;
mod owners;
mod reading;

use std::collections::HashMap;

use kebne_seal::Keyring;
use rusqlite::{Connection, Row};
use serde::{Serialize, de::DeserializeOwned};

use crate::model::{StoreError, Thing};

pub(crate) use ingestion::{Job, Lane, NewChunk, failure};
pub(crate) use open::Place;
pub(crate) use reading::Visible;

/// Days in milliseconds.
pub(crate) const DAY_MS: u64 = 86_400_000;
/// Owners whose keys are kept in memory.
const KEYS_MAX: usize = 1000;

/// An open store.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    keyring: Option<Keyring>,
    /// The keys of owners that were used last.
    keys: HashMap<i64, Keyring>,
}

type Result<T> = std::result::Result<T, StoreError>;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<kebne_seal::SealError> for StoreError {
    fn from(error: kebne_seal::SealError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Database {
    /// Runs a step as one transaction.
    pub(crate) fn step<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = step(self).and_then(|value| {
            self.connection.execute_batch("COMMIT")?;
            Ok(value)
        });
        if done.is_err() {
            // A failed commit may have closed the transaction already.
            self.connection.execute_batch("ROLLBACK").ok();
            // Keys of owners that were created in it do not exist.
            self.keys.clear();
        }
        done
    }

    /// Takes removed data out of the log of the file too, as far as no reader needs it.
    pub(crate) fn forget_log(&self) -> Result<()> {
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
