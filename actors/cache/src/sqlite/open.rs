//! Creates and opens the file.

use std::{path::PathBuf, time::Duration};

use kebne_file::{Kind, OwnedFile, Tables};
use kebne_seal::Keyring;
use rusqlite::Connection;

use super::{Result, SqliteStore, number, writing::PART_MAX};
use crate::{model::Totals, store::Bounds};

/// The file (`KebA`).
const KIND: Kind = Kind {
    name: "answers",
    application: 0x4b65_6241,
    format: 1,
    key_check: "kebne cache",
    busy: Duration::from_millis(500),
};

const SCHEMA: &str = "
CREATE TABLE entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, owner INTEGER NOT NULL, key BLOB NOT NULL, model TEXT NOT NULL,
    created INTEGER NOT NULL, expires INTEGER NOT NULL, used INTEGER NOT NULL, bytes INTEGER NOT NULL,
    body BLOB NOT NULL, family BLOB, meaning BLOB,
    UNIQUE (owner, key)
) STRICT;
CREATE INDEX entries_by_expiry ON entries (expires);
CREATE INDEX entries_by_use ON entries (used, number);
CREATE INDEX entries_by_owner ON entries (owner, used, number);
CREATE INDEX entries_by_count ON entries (owner, model, bytes);
CREATE INDEX entries_by_family ON entries (owner, family, number) WHERE family IS NOT NULL;
CREATE TABLE learned (
    owner INTEGER NOT NULL, family BLOB NOT NULL, model TEXT NOT NULL, used INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (owner, family)
) STRICT, WITHOUT ROWID;
";

const TABLES: Tables = Tables {
    create: &[SCHEMA],
    upgrade: Tables::no_upgrade,
    survives_power_loss: false,
};

/// The place of the file and its key; clones share its identity.
#[derive(Clone, Debug)]
pub struct Place(OwnedFile);

impl Place {
    /// Creates the place of a file that may not exist yet. An answer in it has at most so many bytes.
    pub fn new(path: PathBuf, keyring: Option<Keyring>, entry_size_max: u64) -> Self {
        let removed_max = PART_MAX + entry_size_max;
        Self(OwnedFile::new(path, (KIND, TABLES), keyring, removed_max))
    }

    /// Returns `true` if there is a file, or there was one since the start.
    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Opens the file, or creates it if there was none since the start.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, is not a store of answers, has another key, or has disappeared.
    pub fn open(&self, bounds: Bounds) -> Result<SqliteStore> {
        let file = self.0.open()?;
        let totals = read_totals(&file.connection)?;
        Ok(SqliteStore {
            file,
            place: self.0.clone(),
            bounds,
            totals,
        })
    }
}

fn read_totals(connection: &Connection) -> Result<Totals> {
    let sum = "SELECT count(*), coalesce(sum(bytes), 0) FROM entries";
    let read = |row: &rusqlite::Row<'_>| Ok((number(row, 0)?, number(row, 1)?));
    let (entries, bytes) = connection.query_row(sum, [], read)?;
    Ok(Totals {
        entries,
        bytes,
        evicted: 0,
    })
}
