//! Owners and their keys.

use kebne_cache::Key;
use kebne_file::OwnerKey;

use super::{Result, SqliteStore};

/// What a key of a call is signed for.
const PURPOSE: &str = "call of the cache";

/// Returns the stored form of the key of a call. In an encrypted file, a guess of a call cannot be checked without the owner's key.
pub(super) fn hide(of: &OwnerKey, key: Key) -> [u8; 32] {
    match of.keyring() {
        Some(keyring) => keyring.sign(PURPOSE, &key.0),
        None => key.0,
    }
}

impl SqliteStore {
    /// Removes the keys of owners of whom nothing is left, and returns their number.
    pub(super) fn forget_owners(&mut self) -> Result<u64> {
        let remove = "DELETE FROM owners
            WHERE NOT EXISTS (SELECT 1 FROM entries WHERE owner = owners.number)
            AND NOT EXISTS (SELECT 1 FROM learned WHERE owner = owners.number)";
        let removed = self.file.connection.execute(remove, [])?;
        if removed > 0 {
            self.file.forget_keys();
        }
        Ok(if self.file.is_sealed() {
            removed as u64
        } else {
            0
        })
    }
}
