//! A file whose data belongs to owners: how its tables are made and brought to a new format, and what every store does with it.

use std::{path::PathBuf, sync::Arc};

use kebne_seal::Keyring;
use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};

use crate::{FileError, Found, Kind, OWNERS, Owners, PrivateFile};

/// The tables of a store, besides that of the owners.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// The statements that create them in a new file.
    pub create: &'static [&'static str],
    /// Returns the statements that bring the tables of an older format to the present one; `None` for a format that is not known.
    pub upgrade: fn(format: i32) -> Option<&'static [&'static str]>,
    /// `true` if a transaction must survive the end of the machine too; otherwise it survives the end of the process.
    pub survives_power_loss: bool,
}

impl Tables {
    /// The `upgrade` of a store that has had one format only.
    pub fn no_upgrade(_: i32) -> Option<&'static [&'static str]> {
        None
    }
}

/// The place of a file with owners, and its key; clones share its identity.
#[derive(Clone, Debug)]
pub struct OwnedFile {
    file: PrivateFile,
    tables: Tables,
    keyring: Option<Keyring>,
}

impl OwnedFile {
    /// Creates the place of a file that may not exist yet. `keyring` encrypts it; `removed_max` is the most bytes that one step removes (see
    /// [`PrivateFile::new`]).
    pub fn new(
        path: PathBuf,
        (kind, tables): (Kind, Tables),
        keyring: Option<Keyring>,
        removed_max: u64,
    ) -> Self {
        Self {
            file: PrivateFile::new(path, kind, removed_max),
            tables,
            keyring,
        }
    }

    /// Returns `true` if there is a file, or there was one since the start.
    pub fn exists(&self) -> bool {
        self.file.exists()
    }

    /// Returns the name of what the file holds.
    pub fn name(&self) -> &'static str {
        self.file.kind().name
    }

    /// Opens the file, or creates it if there was none since the start.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, holds something else, has another key, or has disappeared.
    pub fn open(&self) -> Result<OpenFile, FileError> {
        let connection = self
            .file
            .open(|connection, found| self.prepare(connection, found))?;
        if self.tables.survives_power_loss {
            connection.pragma_update(None, "synchronous", "FULL")?;
        }
        Ok(self.opened(connection))
    }

    /// Opens the existing file once more, for example to read beside what is written.
    ///
    /// # Errors
    /// As [`OwnedFile::open`].
    pub fn open_again(&self) -> Result<OpenFile, FileError> {
        Ok(self.opened(self.file.open_again()?))
    }

    /// Does a step that removes data, also while the disk is full.
    pub fn removing<T>(&self, step: impl FnOnce() -> T) -> T {
        self.file.removing(step)
    }

    /// Makes the reserve for such steps if there was no space for it before.
    pub fn keep_reserve(&self) {
        self.file.keep_reserve();
    }

    /// Checks that the file is the one that was opened first.
    ///
    /// # Errors
    /// Fails if it has disappeared or was replaced.
    pub fn check(&self) -> Result<(), FileError> {
        self.file.check()
    }

    fn opened(&self, connection: Connection) -> OpenFile {
        OpenFile {
            connection,
            owners: Owners::new(self.keyring.clone()),
        }
    }

    /// Creates the tables of a new file; of an existing one, checks what it is and whether the key is its key, and upgrades it.
    fn prepare(&self, connection: &Connection, found: Found) -> Result<(), FileError> {
        let (file, master) = (&self.file, self.keyring.as_ref());
        let steps = match found {
            Found::Nothing => {
                let tables: Vec<&str> = [&[OWNERS], self.tables.create].concat();
                return file.create(connection, &tables, master);
            }
            Found::Present => &[],
            Found::Other(format) => {
                (self.tables.upgrade)(format).ok_or_else(|| file.is_not_ours())?
            }
        };
        if file.has_old_key(connection, master)?
            && let Some(master) = master
        {
            let owners = Owners::new(Some(master.clone()));
            file.rotate(connection, master, |connection| {
                owners.wrap_again(connection)
            })?;
        }
        if steps.is_empty() {
            return Ok(());
        }
        self.upgrade(connection, steps)
    }

    fn upgrade(&self, connection: &Connection, steps: &[&str]) -> Result<(), FileError> {
        let Kind { name, format, .. } = self.file.kind();
        let transaction = connection.unchecked_transaction()?;
        for step in steps {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", format)?;
        transaction.commit()?;
        tracing::info!(format, "the file of {name} was brought to a new format");
        Ok(())
    }
}

/// An open file with owners.
#[derive(Debug)]
pub struct OpenFile {
    /// The connection, for the statements of the store.
    pub connection: Connection,
    owners: Owners,
}

impl OpenFile {
    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// Fails if the file is locked or cannot be written.
    pub fn begin(&self) -> Result<(), FileError> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Ends the transaction and keeps what it did.
    ///
    /// # Errors
    /// Fails if it was not written; [`OpenFile::roll_back`] is to follow.
    pub fn commit(&self) -> Result<(), FileError> {
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// Ends the transaction and takes back what it did.
    pub fn roll_back(&mut self) {
        // A failed commit may have closed the transaction already.
        self.connection.execute_batch("ROLLBACK").ok();
        self.forget_keys();
    }

    /// Closes the keys of all owners, for example because those that were created in a part of a transaction do not exist.
    pub fn forget_keys(&mut self) {
        self.owners.clear();
    }

    /// Takes removed data out of the log of the file too, as far as no reader needs it.
    ///
    /// # Errors
    /// Fails if a reader needs the log now, or the file cannot be written.
    pub fn forget_log(&self) -> Result<(), FileError> {
        let pragma = "PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(self.connection.query_row(pragma, [], |_| Ok(()))?)
    }

    /// Returns `true` if the file is encrypted.
    pub fn is_sealed(&self) -> bool {
        self.owners.master().is_some()
    }

    /// Returns the number of an owner; `None` if nothing is known of it.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn owner(&self, name: &str) -> Result<Option<i64>, FileError> {
        Owners::find(&self.connection, name)
    }

    /// Returns the number of an owner, which is created if nothing is known of it.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn owner_or_new(&self, name: &str) -> Result<i64, FileError> {
        self.owners.find_or_create(&self.connection, name)
    }

    /// Returns the name of an owner.
    ///
    /// # Errors
    /// Fails if the file cannot be read or there is no such owner.
    pub fn owner_name(&self, owner: i64) -> Result<String, FileError> {
        let find = "SELECT name FROM owners WHERE number = ?1";
        let mut find = self.connection.prepare_cached(find)?;
        Ok(find.query_row([owner], |row| row.get(0))?)
    }

    /// Returns the numbers of all owners.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn all_owners(&self) -> Result<Vec<i64>, FileError> {
        let find = "SELECT number FROM owners";
        let mut find = self.connection.prepare_cached(find)?;
        let owners = find.query_map([], |row| row.get(0))?;
        Ok(owners.collect::<rusqlite::Result<_>>()?)
    }

    /// Removes an owner, and so its key, if none of the tables has a row with this `owner`. Returns `true` if it was removed.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn remove_owner_unless_in(
        &mut self,
        owner: i64,
        tables: &[&str],
    ) -> Result<bool, FileError> {
        let is_unused: String = tables
            .iter()
            .map(|table| {
                let of_owner = "WHERE owner = ?1";
                [" AND NOT EXISTS (SELECT 1 FROM ", table, " ", of_owner, ")"].concat()
            })
            .collect();
        let remove = format!("DELETE FROM owners WHERE number = ?1{is_unused}");
        let is_removed = self.connection.prepare_cached(&remove)?.execute([owner])? > 0;
        if is_removed {
            self.owners.forget(owner);
        }
        Ok(is_removed)
    }

    /// Returns the key of an owner. As long as it is held open, nobody else may change the table of owners, except that
    /// [`OpenFile::forget_keys`] follows.
    ///
    /// # Errors
    /// Fails if the file cannot be read or the master key does not open the owner's key.
    pub fn key(&mut self, owner: i64) -> Result<OwnerKey, FileError> {
        Ok(OwnerKey(self.owners.key(&self.connection, owner)?))
    }

    /// Encrypts a piece of an owner. `about` is what it is and where it is kept, so that it can be opened in its place only.
    ///
    /// # Errors
    /// As [`OpenFile::key`].
    pub fn seal(&mut self, owner: i64, plain: &[u8], about: &str) -> Result<Vec<u8>, FileError> {
        self.key(owner)?.seal(plain, about)
    }

    /// Decrypts a piece of an owner.
    ///
    /// # Errors
    /// As [`OpenFile::key`], and if the piece is damaged or was sealed for another place.
    pub fn open(&mut self, owner: i64, sealed: &[u8], about: &str) -> Result<Vec<u8>, FileError> {
        self.key(owner)?.open(sealed, about)
    }

    /// Encrypts a value of an owner as JSON.
    ///
    /// # Errors
    /// As [`OpenFile::key`].
    pub fn seal_value<T: Serialize>(
        &mut self,
        owner: i64,
        value: &T,
        about: &str,
    ) -> Result<Vec<u8>, FileError> {
        let plain = serde_json::to_vec(value);
        let plain = plain.map_err(|error| FileError::Failed(error.to_string()))?;
        self.seal(owner, &plain, about)
    }

    /// Decrypts a value of an owner.
    ///
    /// # Errors
    /// As [`OpenFile::open`], and if it is another value.
    pub fn open_value<T: DeserializeOwned>(
        &mut self,
        owner: i64,
        sealed: &[u8],
        about: &str,
    ) -> Result<T, FileError> {
        let key = self.key(owner)?;
        let value = match key.keyring() {
            None => serde_json::from_slice(sealed),
            Some(key) => serde_json::from_slice(&decrypted(key, sealed, about)?),
        };
        value.map_err(|error| FileError::Damaged(format!("`{about}`: {error}")))
    }
}

/// The key of an owner; `None` if the file is not encrypted.
#[derive(Clone, Debug)]
pub struct OwnerKey(Option<Arc<Keyring>>);

impl OwnerKey {
    /// Returns the key; `None` if the file is not encrypted.
    pub fn keyring(&self) -> Option<&Keyring> {
        self.0.as_deref()
    }

    /// Encrypts a piece (see [`OpenFile::seal`]).
    ///
    /// # Errors
    /// Fails without random numbers.
    pub fn seal(&self, plain: &[u8], about: &str) -> Result<Vec<u8>, FileError> {
        match &self.0 {
            Some(key) => Ok(key.seal(plain, about)?),
            None => Ok(plain.to_vec()),
        }
    }

    /// Decrypts a piece.
    ///
    /// # Errors
    /// Fails if it is damaged or was sealed for another place.
    pub fn open(&self, sealed: &[u8], about: &str) -> Result<Vec<u8>, FileError> {
        match &self.0 {
            Some(key) => decrypted(key, sealed, about),
            None => Ok(sealed.to_vec()),
        }
    }
}

fn decrypted(key: &Keyring, sealed: &[u8], about: &str) -> Result<Vec<u8>, FileError> {
    let opened = key.open(sealed, about);
    let damaged = || FileError::Damaged(format!("`{about}` cannot be decrypted"));
    opened.map(|(plain, _)| plain).ok_or_else(damaged)
}

/// Implements the conversions by which `?` turns the errors of a file into those of a store, an enum with the variants `Failed(String)` and
/// `Damaged(String)`.
///
/// The crate that uses it depends on `rusqlite` and `kebne-seal`.
#[macro_export]
macro_rules! store_errors_from_file {
    ($error:ty) => {
        impl From<$crate::FileError> for $error {
            fn from(error: $crate::FileError) -> Self {
                match error {
                    $crate::FileError::Failed(message) => Self::Failed(message),
                    $crate::FileError::Damaged(message) => Self::Damaged(message),
                }
            }
        }

        impl From<rusqlite::Error> for $error {
            fn from(error: rusqlite::Error) -> Self {
                $crate::FileError::from(error).into()
            }
        }
    };
}
