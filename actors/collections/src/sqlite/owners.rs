//! Owners and their keys.

use kebne_seal::{KEY_SIZE, Keyring, new_key};
use rusqlite::{OptionalExtension as _, params};

use super::{Database, KEYS_MAX, Result, number};
use crate::model::StoreError;

/// Returns what is authenticated with an owner's key.
pub(super) fn about(owner: i64) -> String {
    format!("owner/{owner}")
}

impl Database {
    /// Returns the number of an owner; `None` if nothing is known of it.
    pub(super) fn owner(&self, name: &str) -> Result<Option<i64>> {
        let find = "SELECT number FROM owners WHERE name = ?1";
        let mut find = self.connection.prepare_cached(find)?;
        Ok(find.query_row([name], |row| row.get(0)).optional()?)
    }

    /// Returns the number of an owner, which is created with a key of its own if nothing is known of it.
    pub(super) fn owner_or_new(&mut self, name: &str) -> Result<i64> {
        if let Some(owner) = self.owner(name)? {
            return Ok(owner);
        }
        let insert = "INSERT INTO owners (name) VALUES (?1)";
        self.connection.execute(insert, [name])?;
        let owner = self.connection.last_insert_rowid();
        if let Some(keyring) = &self.keyring {
            let sealed = keyring.seal(&*new_key()?, &about(owner))?;
            let update = "UPDATE owners SET key = ?2 WHERE number = ?1";
            self.connection.execute(update, params![owner, sealed])?;
        }
        Ok(owner)
    }

    /// Returns the key of an owner; `None` if the file is not encrypted.
    pub(super) fn key_of(&mut self, owner: i64) -> Result<Option<&Keyring>> {
        let Some(keyring) = &self.keyring else {
            return Ok(None);
        };
        if !self.keys.contains_key(&owner) {
            let find = "SELECT key FROM owners WHERE number = ?1";
            let mut find = self.connection.prepare_cached(find)?;
            let sealed: Vec<u8> = find.query_row([owner], |row| row.get(0))?;
            let damaged =
                || StoreError::Damaged(format!("the key of owner {owner} cannot be decrypted"));
            let (key, _) = keyring.open(&sealed, &about(owner)).ok_or_else(damaged)?;
            let key: &[u8; KEY_SIZE] = key.as_slice().try_into().map_err(|_| damaged())?;
            if self.keys.len() >= KEYS_MAX {
                self.keys.clear();
            }
            self.keys.insert(owner, Keyring::from_bytes(key));
        }
        Ok(self.keys.get(&owner))
    }

    /// Returns the bytes of an owner: its files, chunks and vectors.
    pub(super) fn bytes_of(&self, owner: i64) -> Result<u64> {
        let sum = "SELECT coalesce((SELECT sum(bytes) FROM files WHERE owner = ?1), 0)
            + coalesce((SELECT sum(members.bytes) FROM members JOIN collections ON collections.number = members.collection
                WHERE collections.owner = ?1), 0)";
        let mut sum = self.connection.prepare_cached(sum)?;
        Ok(sum.query_row([owner], |row| number(row, 0))?)
    }

    /// Removes an owner's key if nothing of it is left.
    pub(super) fn forget_owner(&mut self, owner: i64) -> Result<()> {
        let remove = "DELETE FROM owners WHERE number = ?1
            AND NOT EXISTS (SELECT 1 FROM files WHERE owner = ?1)
            AND NOT EXISTS (SELECT 1 FROM collections WHERE owner = ?1)";
        if self.connection.execute(remove, [owner])? > 0 {
            self.keys.remove(&owner);
        }
        Ok(())
    }
}
