//! Owners and their keys.

use std::sync::Arc;

use kebne_cache::Key;
use kebne_file::Owners;
use kebne_seal::Keyring;

use super::{Result, SqliteStore};
use crate::model::StoreError;

/// What a key of a call is signed for.
const PURPOSE: &str = "call of the cache";

/// The key of an owner; `None` if the file is not encrypted.
#[derive(Clone, Debug)]
pub(super) struct OwnerKey(Option<Arc<Keyring>>);

impl OwnerKey {
    /// Returns the stored form of the key of a call. In an encrypted file, a guess of a call cannot be checked without the owner's key.
    pub(super) fn hidden(&self, key: Key) -> [u8; 32] {
        match &self.0 {
            Some(keyring) => keyring.sign(PURPOSE, &key.0),
            None => key.0,
        }
    }

    /// Encrypts a piece.
    pub(super) fn seal(&self, plain: &[u8], about: &str) -> Result<Vec<u8>> {
        match &self.0 {
            Some(keyring) => Ok(keyring.seal(plain, about)?),
            None => Ok(plain.to_vec()),
        }
    }

    /// Decrypts a piece.
    pub(super) fn open(&self, sealed: Vec<u8>, about: &str) -> Result<Vec<u8>> {
        let Some(keyring) = &self.0 else {
            return Ok(sealed);
        };
        let plain = keyring.open(&sealed, about).map(|(plain, _)| plain);
        plain.ok_or_else(|| StoreError::Damaged(format!("`{about}` cannot be decrypted")))
    }
}

impl SqliteStore {
    /// Returns the number of an owner; `None` if nothing is known of it.
    pub(super) fn owner(&self, name: &str) -> Result<Option<i64>> {
        Ok(Owners::find(&self.connection, name)?)
    }

    /// Returns the number of an owner, which is created if nothing is known of it.
    pub(super) fn owner_or_new(&mut self, name: &str) -> Result<i64> {
        Ok(self.owners.find_or_create(&self.connection, name)?)
    }

    /// Returns the key of an owner.
    pub(super) fn key_of(&mut self, owner: i64) -> Result<OwnerKey> {
        Ok(OwnerKey(self.owners.key(&self.connection, owner)?))
    }

    /// Removes the keys of owners of whom nothing is left, and returns their number.
    pub(super) fn forget_owners(&mut self) -> Result<u64> {
        let remove = "DELETE FROM owners
            WHERE NOT EXISTS (SELECT 1 FROM entries WHERE owner = owners.number)
            AND NOT EXISTS (SELECT 1 FROM learned WHERE owner = owners.number)";
        let removed = self.connection.execute(remove, [])?;
        if removed > 0 {
            self.owners.clear();
        }
        let is_sealed = self.owners.master().is_some();
        Ok(if is_sealed { removed as u64 } else { 0 })
    }
}
