//! Creates and opens the file.

use std::{path::PathBuf, time::Duration};

use kebne_file::{Found, Kind, OWNERS, Owners, PrivateFile};
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

/// The place of the file and its key; clones share its identity.
#[derive(Clone, Debug)]
pub struct Place {
    file: PrivateFile,
    keyring: Option<Keyring>,
}

impl Place {
    /// Creates the place of a file that may not exist yet. An answer in it has at most so many bytes.
    pub fn new(path: PathBuf, keyring: Option<Keyring>, entry_size_max: u64) -> Self {
        Self {
            file: PrivateFile::new(path, KIND, PART_MAX + entry_size_max),
            keyring,
        }
    }

    /// Returns `true` if there is a file, or there was one since the start.
    pub fn exists(&self) -> bool {
        self.file.exists()
    }

    /// Opens the file, or creates it if there was none since the start.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, is not a store of answers, has another key, or has disappeared.
    pub fn open(&self, bounds: Bounds) -> Result<SqliteStore> {
        let connection = self
            .file
            .open(|connection, found| self.prepare(connection, found))?;
        let totals = read_totals(&connection)?;
        Ok(SqliteStore {
            connection,
            file: self.file.clone(),
            owners: Owners::new(self.keyring.clone()),
            bounds,
            totals,
        })
    }

    /// Creates the tables of a new file, and checks what an existing file is and whether the key is its key.
    fn prepare(&self, connection: &Connection, found: Found) -> Result<()> {
        let (file, master) = (&self.file, self.keyring.as_ref());
        match found {
            Found::Nothing => return Ok(file.create(connection, &[OWNERS, SCHEMA], master)?),
            Found::Present => {}
            Found::Other(_) => return Err(file.is_not_ours().into()),
        }
        if file.has_old_key(connection, master)?
            && let Some(master) = master
        {
            let owners = Owners::new(Some(master.clone()));
            file.rotate(connection, master, |connection| {
                owners.wrap_again(connection)
            })?;
        }
        Ok(())
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
