//! Creates and opens the file.

use std::{cell::Cell, path::PathBuf, sync::Arc, time::Duration};

use kebne_file::{Found, Kind, OWNERS, Owners, PrivateFile};
use kebne_seal::Keyring;
use rusqlite::{Connection, OptionalExtension as _};

use super::{Database, Result};

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

/// The place of the file and its key; clones share its identity.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    file: PrivateFile,
    keyring: Option<Keyring>,
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
            file: PrivateFile::new(path, KIND, file_size_max),
            keyring,
            space: space.into(),
        }
    }

    /// Returns `true` if there is a file, or there was one since the start.
    pub(crate) fn exists(&self) -> bool {
        self.file.exists()
    }

    /// Opens the file, or creates it if there was none since the start.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, is not a store of collections, has another key, or has disappeared.
    pub(crate) fn open(&self) -> Result<Database> {
        let connection = self
            .file
            .open(|connection, found| self.prepare(connection, found))?;
        let database = self.database(connection);
        database.add_space()?;
        Ok(database)
    }

    /// Opens the existing file a second time, to read.
    ///
    /// # Errors
    /// As [`Place::open`].
    pub(crate) fn open_to_read(&self) -> Result<Database> {
        Ok(self.database(self.file.open_again()?))
    }

    /// Does a step that removes data, also while the disk is full.
    pub(crate) fn removing<T>(&self, step: impl FnOnce() -> T) -> T {
        self.file.removing(step)
    }

    /// Fails if the file is not the one that was opened first.
    pub(crate) fn check(&self) -> Result<()> {
        Ok(self.file.check()?)
    }

    fn database(&self, connection: Connection) -> Database {
        Database {
            connection,
            owners: Owners::new(self.keyring.clone()),
            space_name: Arc::clone(&self.space),
            space: Cell::new(None),
            has_removed: false,
        }
    }

    /// Creates the tables of a new file, and checks what an existing file is and whether the key is its key.
    fn prepare(&self, connection: &Connection, found: Found) -> Result<()> {
        let (file, master) = (&self.file, self.keyring.as_ref());
        let steps: &[&str] = match found {
            Found::Nothing => {
                let tables = [OWNERS, SCHEMA, INDEXES, AGES];
                return Ok(file.create(connection, &tables, master)?);
            }
            Found::Present => &[],
            Found::Other(1) => &[UPGRADE, INDEXES, AGES],
            Found::Other(2) => &[AGES],
            Found::Other(_) => return Err(file.is_not_ours().into()),
        };
        if file.has_old_key(connection, master)?
            && let Some(master) = master
        {
            let owners = Owners::new(Some(master.clone()));
            file.rotate(connection, master, |connection| {
                owners.wrap_again(connection)
            })?;
        }
        if !steps.is_empty() {
            upgrade(connection, steps)?;
        }
        Ok(())
    }
}

/// Brings a file of an older format to the present one.
fn upgrade(connection: &Connection, steps: &[&str]) -> Result<()> {
    let transaction = connection.unchecked_transaction()?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", KIND.format)?;
    transaction.commit()?;
    tracing::info!(
        format = KIND.format,
        "the file of collections was brought to a new format"
    );
    Ok(())
}

impl Database {
    /// Gives the space of the embedder a number.
    fn add_space(&self) -> Result<()> {
        let insert = "INSERT OR IGNORE INTO spaces (name) VALUES (?1)";
        self.connection.execute(insert, [&*self.space_name])?;
        Ok(())
    }

    /// Returns the number of the space of the embedder's vectors; -1, which no chunk has, as long as there is none.
    pub(super) fn space(&self) -> Result<i64> {
        if let Some(space) = self.space.get() {
            return Ok(space);
        }
        let find = "SELECT number FROM spaces WHERE name = ?1";
        let name = &*self.space_name;
        let found = self.connection.query_row(find, [name], |row| row.get(0));
        let space = found.optional()?;
        self.space.set(space);
        Ok(space.unwrap_or(-1))
    }
}
