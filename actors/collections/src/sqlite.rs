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

use kebne_file::OpenFile;
use rusqlite::Row;

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
    file: OpenFile,
    /// The name of the space of the embedder's vectors.
    space_name: Arc<str>,
    /// Its number, once it is known.
    space: Cell<Option<i64>>,
    /// `true` if data was removed that may be in the log of the file.
    has_removed: bool,
}

type Result<T> = std::result::Result<T, StoreError>;

kebne_file::store_errors_from_file!(StoreError);

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
