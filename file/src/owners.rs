//! The owners in a file, and the key of each.

use std::sync::Arc;

use kebne_seal::{Keyring, OwnerKeys};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::FileError;

/// The table of owners. The number of an owner who is removed may be given to another one, whose key is a new one.
pub const OWNERS: &str =
    "CREATE TABLE owners (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key BLOB) STRICT;";

/// The owners of a file. Each has a key of its own if the file is encrypted.
#[derive(Debug)]
pub struct Owners {
    keys: Option<OwnerKeys>,
}

impl Owners {
    /// Creates the owners of a file with this master key; `None` if the file is not encrypted.
    pub fn new(master: Option<Keyring>) -> Self {
        Self {
            keys: master.map(OwnerKeys::new),
        }
    }

    /// Returns the master key; `None` if the file is not encrypted.
    pub fn master(&self) -> Option<&Keyring> {
        self.keys.as_ref().map(OwnerKeys::master)
    }

    /// Returns the number of an owner; `None` if nothing is known of it.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn find(connection: &Connection, name: &str) -> Result<Option<i64>, FileError> {
        let find = "SELECT number FROM owners WHERE name = ?1";
        let mut find = connection.prepare_cached(find)?;
        Ok(find.query_row([name], |row| row.get(0)).optional()?)
    }

    /// Returns the number of an owner, which is created with a key of its own if nothing is known of it.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn find_or_create(&self, connection: &Connection, name: &str) -> Result<i64, FileError> {
        if let Some(owner) = Self::find(connection, name)? {
            return Ok(owner);
        }
        connection.execute("INSERT INTO owners (name) VALUES (?1)", [name])?;
        let owner = connection.last_insert_rowid();
        if let Some(keys) = &self.keys {
            put_key(connection, owner, &keys.create(owner)?)?;
        }
        Ok(owner)
    }

    /// Returns the key of an owner; `None` if the file is not encrypted. Nobody else may change the table meanwhile, except that
    /// [`Owners::clear`] follows.
    ///
    /// # Errors
    /// Fails if the file cannot be read or no master key opens the row.
    pub fn key(
        &mut self,
        connection: &Connection,
        owner: i64,
    ) -> Result<Option<Arc<Keyring>>, FileError> {
        let Some(keys) = &mut self.keys else {
            return Ok(None);
        };
        if let Some(key) = keys.opened(owner) {
            return Ok(Some(Arc::clone(key)));
        }
        let find = "SELECT key FROM owners WHERE number = ?1";
        let mut find = connection.prepare_cached(find)?;
        let row: Vec<u8> = find.query_row([owner], |row| row.get(0))?;
        Ok(Some(keys.open(owner, &row)?))
    }

    /// Wraps the keys of all owners with the first master key.
    ///
    /// # Errors
    /// Fails if no master key opens one of them, or the file cannot be written.
    pub fn wrap_again(&self, connection: &Connection) -> Result<(), FileError> {
        let Some(keys) = &self.keys else {
            return Ok(());
        };
        let rows = {
            let mut rows = connection.prepare("SELECT number, key FROM owners")?;
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?
        };
        for (owner, row) in rows {
            if let Some(row) = keys.wrap_again(owner, &row)? {
                put_key(connection, owner, &row)?;
            }
        }
        Ok(())
    }

    /// Removes the key of an owner from memory.
    pub fn forget(&mut self, owner: i64) {
        if let Some(keys) = &mut self.keys {
            keys.forget(owner);
        }
    }

    /// Removes all keys from memory, for example because the transaction in which one was created was rolled back.
    pub fn clear(&mut self) {
        if let Some(keys) = &mut self.keys {
            keys.clear();
        }
    }
}

fn put_key(connection: &Connection, owner: i64, row: &[u8]) -> Result<(), FileError> {
    let update = "UPDATE owners SET key = ?2 WHERE number = ?1";
    connection.execute(update, params![owner, row])?;
    Ok(())
}
