//! Creates and opens the file.

use std::{cell::Cell, path::PathBuf, sync::Arc, time::Duration};

use kebne_file::{Kind, OpenFile, OwnedFile, Tables};
use kebne_file_store::FileStore;
use kebne_seal::Keyring;
use rusqlite::OptionalExtension as _;

use super::{Database, Result};
use crate::model::StoreError;

/// The file (`KebC`).
const KIND: Kind = Kind {
    name: "collections",
    application: 0x4b65_6243,
    format: 3,
    key_check: "kebne collections",
    busy: Duration::from_millis(500),
};

const SCHEMA: &str = "
CREATE TABLE files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL,
    created INTEGER NOT NULL, expires INTEGER, bytes INTEGER NOT NULL, details BLOB NOT NULL, content BLOB NOT NULL
) STRICT;
CREATE INDEX files_by_owner ON files (owner, number, bytes);
CREATE INDEX files_by_expiry ON files (expires) WHERE expires IS NOT NULL;
CREATE TABLE spaces (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE collections (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL, days INTEGER, version INTEGER NOT NULL, details BLOB NOT NULL,
    removals INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX collections_by_owner ON collections (owner, number);
CREATE TABLE members (
    number INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, file INTEGER NOT NULL,
    created INTEGER NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
    chunks INTEGER NOT NULL, bytes INTEGER NOT NULL, details BLOB NOT NULL,
    cut INTEGER NOT NULL DEFAULT 0, replaces INTEGER, changed INTEGER NOT NULL DEFAULT 1,
    UNIQUE (collection, file)
) STRICT;
CREATE INDEX members_by_file ON members (file);
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, member INTEGER NOT NULL,
    place INTEGER NOT NULL, text BLOB NOT NULL, vector BLOB NOT NULL,
    space INTEGER NOT NULL DEFAULT 1, changed INTEGER NOT NULL DEFAULT 1
) STRICT;
";

/// The indexes of format 2.
///
/// `members.cut` is 1 while the new chunks of a file are stored and wait for their vectors; `members.replaces` is the file of an older
/// version, which is erased when this one is complete. `chunks.changed` is the version of the collection that changed a chunk; 0 is a
/// new chunk, which is not found yet. `chunks.space` is the space of its vector; 0 is none.
const INDEXES: &str = "
CREATE INDEX members_waiting ON members (attempts, number) WHERE status = 'in_progress' AND cut = 0;
CREATE INDEX members_by_change ON members (collection, changed);
CREATE INDEX chunks_by_space ON chunks (collection, space, number);
CREATE INDEX chunks_by_change ON chunks (collection, changed, number);
CREATE INDEX chunks_by_member ON chunks (member, changed, space, place);
";

/// Brings a file of format 1 to the tables of format 2. All its vectors are of the built-in embedder, whose space has the number 1.
const UPGRADE: &str = "
CREATE TABLE spaces (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO spaces VALUES (1, 'hashed-ngrams-v1-384');
ALTER TABLE collections ADD COLUMN removals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN replaces INTEGER;
ALTER TABLE members ADD COLUMN changed INTEGER NOT NULL DEFAULT 1;
ALTER TABLE chunks ADD COLUMN space INTEGER NOT NULL DEFAULT 1;
ALTER TABLE chunks ADD COLUMN changed INTEGER NOT NULL DEFAULT 1;
DROP INDEX members_waiting;
DROP INDEX chunks_by_collection;
DROP INDEX chunks_by_member;
";

/// What format 3 adds: the days after which files leave a collection.
const AGES: &str = "
ALTER TABLE collections ADD COLUMN file_days INTEGER;
CREATE INDEX members_by_age ON members (collection, created);
";

const TABLES: Tables = Tables {
    create: &[SCHEMA, INDEXES, AGES],
    upgrade: |format| match format {
        1 => Some(&[UPGRADE, INDEXES, AGES]),
        2 => Some(&[AGES]),
        _ => None,
    },
    survives_power_loss: false,
};

/// The place of the file and its key; clones share its identity.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    file: OwnedFile,
    /// The name of the space of the embedder's vectors.
    space: Arc<str>,
}

impl Place {
    /// Creates the place of a file that may not exist yet. A file in it has at most `file_size_max` bytes.
    pub(crate) fn new(
        path: PathBuf,
        keyring: Option<Keyring>,
        space: &str,
        file_size_max: u64,
    ) -> Self {
        Self {
            file: OwnedFile::new(path, (KIND, TABLES), keyring, file_size_max),
            space: space.into(),
        }
    }

    /// Opens the existing file a second time, to read.
    ///
    /// # Errors
    /// As [`FileStore::open`].
    pub(crate) fn open_to_read(&self) -> Result<Database> {
        Ok(self.database(self.file.open_again()?))
    }

    fn database(&self, file: OpenFile) -> Database {
        Database {
            file,
            space_name: Arc::clone(&self.space),
            space: Cell::new(None),
            has_removed: false,
        }
    }
}

impl FileStore for Place {
    type Open = Database;
    type Error = StoreError;

    fn file(&self) -> &OwnedFile {
        &self.file
    }

    fn open(&self) -> Result<Database> {
        let database = self.database(self.file.open()?);
        database.add_space()?;
        Ok(database)
    }

    fn open_file(database: &mut Database) -> &mut OpenFile {
        &mut database.file
    }

    fn is_failure(error: &StoreError) -> bool {
        matches!(error, StoreError::Failed(_) | StoreError::Damaged(_))
    }

    fn takes_removed(database: &mut Database) -> bool {
        std::mem::take(&mut database.has_removed)
    }
}

impl Database {
    /// Gives the space of the embedder a number.
    fn add_space(&self) -> Result<()> {
        let insert = "INSERT OR IGNORE INTO spaces (name) VALUES (?1)";
        self.file.connection.execute(insert, [&*self.space_name])?;
        Ok(())
    }

    /// Returns the number of the space of the embedder's vectors; -1, which no chunk has, as long as there is none.
    pub(super) fn space(&self) -> Result<i64> {
        if let Some(space) = self.space.get() {
            return Ok(space);
        }
        let find = "SELECT number FROM spaces WHERE name = ?1";
        let name = &*self.space_name;
        let found = self
            .file
            .connection
            .query_row(find, [name], |row| row.get(0));
        let space = found.optional()?;
        self.space.set(space);
        Ok(space.unwrap_or(-1))
    }
}
