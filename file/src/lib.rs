//! `SQLite` files of stores: private, recognized by what they are, and checked against their master key.
//!
//! Owns how such a file is created and opened. Its tables belong to the store. A store that fails is opened again by its owner; this crate
//! waits for nothing but the lock of another process.

mod owned;
mod owners;
mod reserve;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use kebne_seal::{DamagedKey, Keyring, SealError, WrapError, compare_check, new_check};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

pub use owned::{OpenFile, OwnedFile, OwnerKey, Tables};
pub use owners::{OWNERS, Owners};
pub use reserve::Reserve;

/// The space that a step needs beside what it removes: the pages of trees and lists, and the index of the log.
const RESERVE_MIN: u64 = 8 << 20;
/// The table of each file for the check of its key.
const LOCK: &str =
    "CREATE TABLE lock (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;";

/// The reason why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written now.
    #[error("{0}")]
    Failed(String),
    /// It is something else, has another key, or its data cannot be read.
    #[error("{0}")]
    Damaged(String),
}

/// What a file holds.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The name in messages, such as `collections`.
    pub name: &'static str,
    /// The application id of the file.
    pub application: i32,
    /// The version of the tables.
    pub format: i32,
    /// The text that is sealed to tell a wrong key from damaged data.
    pub key_check: &'static str,
    /// The longest wait for the lock of another process.
    pub busy: Duration,
}

/// What was found in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: its tables are to be created.
    Nothing,
    /// Tables of the present format.
    Present,
    /// Tables of another format, which the store may know.
    Other(i32),
}

/// The place of a file, and its identity once it was found or created; clones share it.
#[derive(Clone, Debug)]
pub struct PrivateFile {
    path: PathBuf,
    kind: Kind,
    reserve: Reserve,
    /// The device and the number of the file.
    identity: Arc<OnceLock<(u64, u64)>>,
}

impl PrivateFile {
    /// Creates the place of a file that may not exist yet. `removed_max` is the most bytes that one step removes; as much space and some more is
    /// [kept](Reserve) so that they can be removed while the disk is full.
    pub fn new(path: PathBuf, kind: Kind, removed_max: u64) -> Self {
        let reserve = Reserve::beside(&path, removed_max.saturating_add(RESERVE_MIN));
        Self {
            path,
            kind,
            reserve,
            identity: Arc::default(),
        }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what the file holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns `true` if there is a file, or there was one since the start.
    pub fn exists(&self) -> bool {
        self.identity.get().is_some() || self.path.exists()
    }

    /// Opens the file, or creates it and its folder if there was none since the start, and has `prepare` make or check its tables.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, is of another kind, or has disappeared or was replaced, or if `prepare` fails.
    pub fn open<E: From<FileError>>(
        &self,
        prepare: impl FnOnce(&Connection, Found) -> Result<(), E>,
    ) -> Result<Connection, E> {
        self.check()?;
        let file = self.make().map_err(|error| self.cannot_open(&error))?;
        let connection = self.connect()?;
        // A file of another kind is left as it is.
        let found = self.recognize(&connection)?;
        set(&connection).map_err(FileError::from)?;
        prepare(&connection, found)?;
        self.identity.get_or_init(|| (file.dev(), file.ino()));
        self.reserve.take();
        Ok(connection)
    }

    /// Does a step that removes data and takes it out of the log, also while the disk is full: the reserve is given up for it.
    pub fn removing<T>(&self, step: impl FnOnce() -> T) -> T {
        let is_given_up = self.reserve.give_up();
        let done = step();
        if is_given_up {
            self.reserve.take_back();
        } else {
            self.keep_reserve();
        }
        done
    }

    /// Makes the reserve if there was no space for it before.
    pub fn keep_reserve(&self) {
        if self.exists() {
            self.reserve.take();
        }
    }

    /// Opens an existing file once more.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, has disappeared or was replaced.
    pub fn open_again(&self) -> Result<Connection, FileError> {
        self.check()?;
        let connection = self.connect()?;
        set(&connection)?;
        Ok(connection)
    }

    /// Checks that the file is the one that was opened first.
    ///
    /// # Errors
    /// Fails if it has disappeared or was replaced.
    pub fn check(&self) -> Result<(), FileError> {
        let found = fs::metadata(&self.path).map(|found| (found.dev(), found.ino()));
        match (self.identity.get(), found) {
            (None, _) => Ok(()),
            (Some(known), Ok(found)) if *known == found => Ok(()),
            _ => {
                let path = self.path.display();
                let message = format!("the file `{path}` has disappeared or was replaced");
                Err(FileError::Failed(message))
            }
        }
    }

    fn recognize(&self, connection: &Connection) -> Result<Found, FileError> {
        let number = |name: &str| -> rusqlite::Result<i32> {
            connection.pragma_query_value(None, name, |row| row.get(0))
        };
        let (application, format) = (number("application_id")?, number("user_version")?);
        if application == self.kind.application {
            return Ok(if format == self.kind.format {
                Found::Present
            } else {
                Found::Other(format)
            });
        }
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = connection.query_row(tables, [], |row| row.get(0))?;
        if application != 0 || format != 0 || tables != 0 {
            return Err(self.is_not_ours());
        }
        Ok(Found::Nothing)
    }

    /// Returns the error of a file that is not of this kind, or of a format that the store does not know.
    pub fn is_not_ours(&self) -> FileError {
        let (path, name) = (self.path.display(), self.kind.name);
        FileError::Damaged(format!("`{path}` is not a store of {name} of this version"))
    }

    /// Creates the tables of a new file, and the check of its key.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn create(
        &self,
        connection: &Connection,
        tables: &[&str],
        master: Option<&Keyring>,
    ) -> Result<(), FileError> {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(LOCK)?;
        for tables in tables {
            transaction.execute_batch(tables)?;
        }
        if let Some(master) = master {
            let check = new_check(master, self.kind.key_check)?;
            transaction.execute("INSERT INTO lock VALUES ('check', ?1)", [check])?;
        }
        transaction.pragma_update(None, "application_id", self.kind.application)?;
        transaction.pragma_update(None, "user_version", self.kind.format)?;
        Ok(transaction.commit()?)
    }

    /// Compares the master key with that of the file. Returns `true` if an old key fits, so that what the key seals is to be sealed again.
    ///
    /// # Errors
    /// Fails if no key fits.
    pub fn has_old_key(
        &self,
        connection: &Connection,
        master: Option<&Keyring>,
    ) -> Result<bool, FileError> {
        let find = "SELECT value FROM lock WHERE name = 'check'";
        let check: Option<Vec<u8>> = connection
            .query_row(find, [], |row| row.get(0))
            .optional()?;
        let compared = compare_check(master, check.as_deref(), self.kind.key_check);
        compared.map_err(|wrong| FileError::Damaged(format!("`{}`: {wrong}", self.path.display())))
    }

    /// Has `again` seal with the first key what an old one has sealed, and makes the first key that of the file, in one transaction.
    ///
    /// # Errors
    /// Fails as `again` does, or if the file cannot be written.
    pub fn rotate<E: From<FileError>>(
        &self,
        connection: &Connection,
        master: &Keyring,
        again: impl FnOnce(&Connection) -> Result<(), E>,
    ) -> Result<(), E> {
        let transaction = connection
            .unchecked_transaction()
            .map_err(FileError::from)?;
        again(&transaction)?;
        let check = new_check(master, self.kind.key_check).map_err(FileError::from)?;
        let update = "UPDATE lock SET value = ?1 WHERE name = 'check'";
        transaction
            .execute(update, [check])
            .map_err(FileError::from)?;
        transaction.commit().map_err(FileError::from)?;
        tracing::info!("the encryption key of {} was changed", self.kind.name);
        Ok(())
    }

    /// Creates the folder and the file if they are not there. Nobody else can read the file, and `SQLite` gives its log the same
    /// permissions.
    fn make(&self) -> io::Result<fs::Metadata> {
        let folder = self.path.parent();
        if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options.open(&self.path)?.metadata()
    }

    fn connect(&self) -> Result<Connection, FileError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.kind.busy)?;
        Ok(connection)
    }

    fn cannot_open(&self, error: &io::Error) -> FileError {
        FileError::Failed(format!("cannot open `{}`: {error}", self.path.display()))
    }
}

fn set(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // Removed data is overwritten.
    connection.pragma_update(None, "secure_delete", true)
}

impl From<rusqlite::Error> for FileError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<SealError> for FileError {
    fn from(error: SealError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<DamagedKey> for FileError {
    fn from(error: DamagedKey) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<WrapError> for FileError {
    fn from(error: WrapError) -> Self {
        match error {
            WrapError::Damaged(error) => error.into(),
            WrapError::Seal(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
