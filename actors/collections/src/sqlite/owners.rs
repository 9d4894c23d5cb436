//! Owners and their keys.

use std::sync::Arc;

use kebne_file::Owners;
use kebne_seal::Keyring;

use super::{Database, Result, number};

impl Database {
    /// Returns the number of an owner; `None` if nothing is known of it.
    pub(super) fn owner(&self, name: &str) -> Result<Option<i64>> {
        Ok(Owners::find(&self.connection, name)?)
    }

    /// Returns the number of an owner, which is created if nothing is known of it.
    pub(super) fn owner_or_new(&mut self, name: &str) -> Result<i64> {
        Ok(self.owners.find_or_create(&self.connection, name)?)
    }

    /// Returns the name of an owner.
    pub(super) fn owner_name(&self, owner: i64) -> Result<String> {
        let find = "SELECT name FROM owners WHERE number = ?1";
        let mut find = self.connection.prepare_cached(find)?;
        Ok(find.query_row([owner], |row| row.get(0))?)
    }

    /// Returns the key of an owner; `None` if the file is not encrypted.
    pub(super) fn key_of(&mut self, owner: i64) -> Result<Option<Arc<Keyring>>> {
        // Nobody else changes the rows in the transaction, and after one that only reads all keys are closed.
        Ok(self.owners.key(&self.connection, owner)?)
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
            self.owners.forget(owner);
        }
        Ok(())
    }
}
