//! Creates and opens the file.

use std::{path::PathBuf, time::Duration};

use kebne_file::{FileError, Found, Kind, OWNERS, Owners, PrivateFile};
use kebne_seal::Keyring;
use rusqlite::Connection;

use crate::{sqlite::database::Database, store::StoreError};

/// The file (`KebG`).
const KIND: Kind = Kind {
    name: "agents",
    application: 0x4b65_6247,
    format: 1,
    key_check: "kebne agents",
    busy: Duration::from_millis(500),
};

/// `fence` grows with each lease of a run; `until` is the end of the lease, 0 if nobody has one.
const SCHEMA: &str = "
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL, agent TEXT NOT NULL,
    state TEXT NOT NULL, created INTEGER NOT NULL, ended INTEGER, seq INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0, until INTEGER NOT NULL DEFAULT 0, counts INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_due ON runs (until, number) WHERE state = 'running';
CREATE INDEX runs_open ON runs (owner) WHERE state != 'ended' AND counts = 1;
CREATE INDEX runs_by_owner ON runs (owner, number);
CREATE INDEX runs_ended ON runs (ended) WHERE ended IS NOT NULL;
CREATE TABLE events (
    run INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, seq)
) STRICT;
CREATE TABLE agents (
    owner INTEGER NOT NULL, name TEXT NOT NULL, spec BLOB NOT NULL, PRIMARY KEY (owner, name)
) STRICT;
";

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

/// The place of the file and its key; clones share its identity.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    file: PrivateFile,
    keyring: Option<Keyring>,
}

impl Place {
    /// Creates the place of a file that may not exist yet. A step removes about `removed_max` bytes at most.
    pub(crate) fn new(path: PathBuf, keyring: Option<Keyring>, removed_max: u64) -> Self {
        Self {
            file: PrivateFile::new(path, KIND, removed_max),
            keyring,
        }
    }

    /// Returns `true` if there is a file, or there was one since the start.
    pub(crate) fn exists(&self) -> bool {
        self.file.exists()
    }

    /// Opens the file, or creates it if there was none since the start.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, is not a store of agents, has another key, or has disappeared.
    pub(crate) fn open(&self) -> Result<Database, StoreError> {
        let connection = self
            .file
            .open(|connection, found| self.prepare(connection, found))?;
        // A step that was confirmed must survive the end of the machine too.
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(Database::new(connection, Owners::new(self.keyring.clone())))
    }

    /// Does a step that removes data, also while the disk is full.
    pub(crate) fn removing<T>(&self, step: impl FnOnce() -> T) -> T {
        self.file.removing(step)
    }

    /// Fails if the file is not the one that was opened first.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        Ok(self.file.check()?)
    }

    /// Creates the tables of a new file, and checks what an existing file is and whether the key is its key.
    fn prepare(&self, connection: &Connection, found: Found) -> Result<(), StoreError> {
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
