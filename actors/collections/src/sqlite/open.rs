//! Creates and opens the file.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use kebne_seal::Keyring;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{Database, Result};
use crate::model::StoreError;

/// The application id of the file (`KebC`).
const APPLICATION: i32 = 0x4b65_6243;
/// The version of the schema.
const FORMAT: i32 = 1;
/// The longest wait for the lock of another process.
const BUSY: Duration = Duration::from_millis(500);
/// A known text that is stored sealed, to distinguish a wrong key from a damaged piece.
const KEY_CHECK: &str = "kebne collections";

const SCHEMA: &str = "
CREATE TABLE lock (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE owners (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key BLOB) STRICT;
CREATE TABLE files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL,
    created INTEGER NOT NULL, expires INTEGER, bytes INTEGER NOT NULL, details BLOB NOT NULL, content BLOB NOT NULL
) STRICT;
CREATE INDEX files_by_owner ON files (owner, number, bytes);
CREATE INDEX files_by_expiry ON files (expires) WHERE expires IS NOT NULL;
CREATE TABLE collections (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL, days INTEGER, version INTEGER NOT NULL, details BLOB NOT NULL
) STRICT;
CREATE INDEX collections_by_owner ON collections (owner, number);
CREATE TABLE members (
    number INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, file INTEGER NOT NULL,
    created INTEGER NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
    chunks INTEGER NOT NULL, bytes INTEGER NOT NULL, details BLOB NOT NULL,
    UNIQUE (collection, file)
) STRICT;
CREATE INDEX members_by_file ON members (file);
CREATE INDEX members_waiting ON members (attempts, number) WHERE status = 'in_progress';
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, member INTEGER NOT NULL,
    place INTEGER NOT NULL, text BLOB NOT NULL, vector BLOB NOT NULL
) STRICT;
CREATE INDEX chunks_by_collection ON chunks (collection, number);
CREATE INDEX chunks_by_member ON chunks (member, place);
";

/// The place of the file and its key, and its identity once it was found or created; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    path: PathBuf,
    keyring: Option<Keyring>,
    /// A file that disappears while the service runs is not replaced: an empty one would hide the loss.
    identity: Arc<OnceLock<(u64, u64)>>,
}

impl Place {
    pub(crate) fn new(path: PathBuf, keyring: Option<Keyring>) -> Self {
        Self {
            path,
            keyring,
            identity: Arc::default(),
        }
    }

    /// Returns `true` if there is a file, or there was one since the start.
    pub(crate) fn exists(&self) -> bool {
        self.identity.get().is_some() || self.path.exists()
    }

    /// Opens the file, or creates it if there was none since the start.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, is not a store of collections, has another key, or has disappeared.
    pub(crate) fn open(&self) -> Result<Database> {
        let path = self.path.display();
        let failed =
            |error: &io::Error| StoreError::Failed(format!("cannot open `{path}`: {error}"));
        self.check()?;
        let folder = self.path.parent();
        if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
            let mut builder = fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(folder);
            made.map_err(|error| failed(&error))?;
        }
        // Created here, so that nobody else can read it. `SQLite` gives its log the same permissions.
        let mut options = fs::OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path);
        let file = file.and_then(|file| file.metadata());
        let file = file.map_err(|error| failed(&error))?;
        let database = self.connect()?;
        database.prepare(&self.path.display().to_string())?;
        self.identity.get_or_init(|| (file.dev(), file.ino()));
        Ok(database)
    }

    /// Opens the existing file a second time, to read.
    ///
    /// # Errors
    /// As [`Place::open`].
    pub(crate) fn open_to_read(&self) -> Result<Database> {
        self.check()?;
        self.connect()
    }

    fn connect(&self) -> Result<Database> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        // Removed data is overwritten.
        connection.pragma_update(None, "secure_delete", true)?;
        Ok(Database {
            connection,
            keyring: self.keyring.clone(),
            keys: HashMap::new(),
        })
    }

    /// Fails if the file is not the one that was opened first.
    fn check(&self) -> Result<()> {
        let found = fs::metadata(&self.path).map(|found| (found.dev(), found.ino()));
        match (self.identity.get(), found) {
            (None, _) => Ok(()),
            (Some(known), Ok(found)) if *known == found => Ok(()),
            _ => {
                let path = self.path.display();
                let message = format!("the file `{path}` has disappeared or was replaced");
                Err(StoreError::Failed(message))
            }
        }
    }
}

impl Database {
    /// Creates the tables of a new file, and checks what an existing file is and whether the key is its key.
    fn prepare(&self, path: &str) -> Result<()> {
        let number = |name: &str| -> rusqlite::Result<i32> {
            let connection = &self.connection;
            connection.pragma_query_value(None, name, |row| row.get(0))
        };
        let (application, format) = (number("application_id")?, number("user_version")?);
        if (application, format) == (APPLICATION, FORMAT) {
            return self.check_key(path);
        }
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = self.connection.query_row(tables, [], |row| row.get(0))?;
        if application != 0 || format != 0 || tables != 0 {
            let message = format!("`{path}` is not a store of collections of this version");
            return Err(StoreError::Damaged(message));
        }
        let transaction = self.connection.unchecked_transaction()?;
        transaction.execute_batch(SCHEMA)?;
        if let Some(keyring) = &self.keyring {
            let check = keyring.seal(b"", KEY_CHECK)?;
            transaction.execute("INSERT INTO lock VALUES ('check', ?1)", [check])?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        Ok(transaction.commit()?)
    }

    fn check_key(&self, path: &str) -> Result<()> {
        let find = "SELECT value FROM lock WHERE name = 'check'";
        let check: Option<Vec<u8>> = self
            .connection
            .query_row(find, [], |row| row.get(0))
            .optional()?;
        let wrong = match (&self.keyring, check) {
            (None, None) => return Ok(()),
            (Some(keyring), Some(check)) => match keyring.open(&check, KEY_CHECK) {
                Some((_, 0)) => return Ok(()),
                Some(_) => return self.rotate(keyring),
                None => "the key is not the one that the file was encrypted with",
            },
            (None, Some(_)) => "the file is encrypted, and no key is set",
            (Some(_), None) => "a key is set, but the file was written without encryption",
        };
        Err(StoreError::Damaged(format!("`{path}`: {wrong}")))
    }

    /// Encrypts the keys of all owners with the first key.
    fn rotate(&self, keyring: &Keyring) -> Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        let rows = {
            let mut rows = transaction.prepare("SELECT number, key FROM owners")?;
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?
        };
        for (owner, key) in rows {
            let about = super::owners::about(owner);
            let message =
                || StoreError::Damaged(format!("the key of owner {owner} cannot be decrypted"));
            let (key, _) = keyring.open(&key, &about).ok_or_else(message)?;
            let sealed = keyring.seal(&key, &about)?;
            let update = "UPDATE owners SET key = ?2 WHERE number = ?1";
            transaction.execute(update, rusqlite::params![owner, sealed])?;
        }
        let check = keyring.seal(b"", KEY_CHECK)?;
        transaction.execute("UPDATE lock SET value = ?1 WHERE name = 'check'", [check])?;
        transaction.commit()?;
        tracing::info!("the encryption key of collections was changed");
        Ok(())
    }
}
