//! Keys of owners: what belongs to an owner is sealed with the owner's key, and the master key seals these few keys.
//!
//! To erase an owner is to erase one row, and to replace the master key is to wrap these rows again. A store keeps one row for each
//! owner: a number that is never used twice, and the bytes that [`OwnerKeys::create`] returns. This module holds no rows and does no I/O.

use std::{collections::HashMap, fmt, sync::Arc};

use zeroize::Zeroizing;

use crate::keyring::{KEY_SIZE, Keyring, SealError, new_key};

/// The number of opened keys that are kept in memory. One takes about 200 bytes.
const OPENED_MAX: usize = 1000;

/// The reason why the key of an owner cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of owner {owner} cannot be decrypted")]
pub struct DamagedKey {
    /// The number of the owner.
    pub owner: i64,
}

/// The reason why a row was not wrapped again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// No master key opens the row.
    #[error(transparent)]
    Damaged(#[from] DamagedKey),
    /// The row cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Opens and creates the keys of owners.
pub struct OwnerKeys {
    master: Keyring,
    /// The keys that were opened, each with the row that it was opened from.
    opened: HashMap<i64, (Vec<u8>, Arc<Keyring>)>,
}

impl OwnerKeys {
    /// Creates the owners' keys under the master key and the old master keys of a keyring.
    pub fn new(master: Keyring) -> Self {
        Self {
            master,
            opened: HashMap::new(),
        }
    }

    /// Returns the master keys.
    pub fn master(&self) -> &Keyring {
        &self.master
    }

    /// Returns the row of a new key for the owner with this number.
    ///
    /// # Errors
    /// Returns an error if the system has no random bytes.
    pub fn create(&self, owner: i64) -> Result<Vec<u8>, SealError> {
        self.master.seal(&*new_key()?, &about(owner))
    }

    /// Returns the key that a row holds. A row that was opened before is compared and not decrypted again.
    ///
    /// # Errors
    /// Returns an error if the row was changed, belongs to another owner, or is sealed with another master key.
    pub fn open(&mut self, owner: i64, row: &[u8]) -> Result<Arc<Keyring>, DamagedKey> {
        if let Some((known, key)) = self.opened.get(&owner)
            && known == row
        {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(Keyring::from_bytes(&self.plain(owner, row)?.0));
        if self.opened.len() >= OPENED_MAX {
            self.opened.clear();
        }
        self.opened.insert(owner, (row.to_vec(), Arc::clone(&key)));
        Ok(key)
    }

    /// Returns a key that was opened before. Only a store whose rows nobody else changes meanwhile may use it in place of
    /// [`OwnerKeys::open`].
    pub fn opened(&self, owner: i64) -> Option<&Arc<Keyring>> {
        self.opened.get(&owner).map(|(_, key)| key)
    }

    /// Returns the row sealed with the first master key; `None` if it already is.
    ///
    /// # Errors
    /// Returns an error if no master key opens the row.
    pub fn wrap_again(&self, owner: i64, row: &[u8]) -> Result<Option<Vec<u8>>, WrapError> {
        let (key, place) = self.plain(owner, row)?;
        if place == 0 {
            return Ok(None);
        }
        Ok(Some(self.master.seal(&*key, &about(owner))?))
    }

    /// Removes the key of an owner from memory.
    pub fn forget(&mut self, owner: i64) {
        self.opened.remove(&owner);
    }

    /// Removes all keys from memory, for example because the transaction in which one was created was rolled back.
    pub fn clear(&mut self) {
        self.opened.clear();
    }

    fn plain(
        &self,
        owner: i64,
        row: &[u8],
    ) -> Result<(Zeroizing<[u8; KEY_SIZE]>, usize), DamagedKey> {
        let damaged = DamagedKey { owner };
        let (plain, place) = self.master.open(row, &about(owner)).ok_or(damaged)?;
        let plain = Zeroizing::new(plain);
        let key = plain.as_slice().try_into().map_err(|_| damaged)?;
        Ok((Zeroizing::new(key), place))
    }
}

/// Returns what is authenticated with the key of an owner.
fn about(owner: i64) -> String {
    format!("owner/{owner}")
}

impl fmt::Debug for OwnerKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OwnerKeys")
            .field("opened", &self.opened.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(digits: &[&str]) -> OwnerKeys {
        let master = Keyring::from_hex(&digits[0].repeat(64)).unwrap();
        let old: Vec<String> = digits[1..].iter().map(|digit| digit.repeat(64)).collect();
        OwnerKeys::new(master.with_old(&old.join(" ")).unwrap())
    }

    #[test]
    fn a_row_opens_only_for_its_owner_under_its_master_key_and_unchanged() {
        let mut ours = keys(&["a"]);
        let row = ours.create(7).unwrap();
        let sealed = ours.open(7, &row).unwrap().seal(b"hello", "x").unwrap();
        let again = keys(&["a"]).open(7, &row).unwrap();
        assert_eq!(again.open(&sealed, "x"), Some((b"hello".to_vec(), 0)));
        assert_eq!(ours.open(8, &row).unwrap_err(), DamagedKey { owner: 8 });
        assert!(keys(&["b"]).open(7, &row).is_err());
        for at in 0..row.len() {
            let mut changed = row.clone();
            changed[at] ^= 1;
            // Nor does a key that is in memory stand in for a row that was changed.
            assert!(ours.open(7, &changed).is_err(), "{at}");
            assert!(ours.open(7, &row[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn two_owners_have_different_keys_and_the_master_key_opens_no_piece() {
        let mut keys = keys(&["a"]);
        let rows = [1, 2].map(|owner| keys.create(owner).unwrap());
        let sealed = keys.open(1, &rows[0]).unwrap().seal(b"hello", "x").unwrap();
        assert_eq!(keys.open(2, &rows[1]).unwrap().open(&sealed, "x"), None);
        assert_eq!(keys.master().open(&sealed, "x"), None);
    }

    #[test]
    fn a_rotation_wraps_the_key_again_and_keeps_it() {
        let row = keys(&["a"]).create(7).unwrap();
        let sealed = keys(&["a"]).open(7, &row).unwrap().seal(b"hello", "x");
        let sealed = sealed.unwrap();
        let rotated = keys(&["b", "a"]);
        let wrapped = rotated.wrap_again(7, &row).unwrap().unwrap();
        assert_eq!(rotated.wrap_again(7, &wrapped), Ok(None));
        assert!(keys(&["a"]).open(7, &wrapped).is_err());
        let key = keys(&["b"]).open(7, &wrapped).unwrap();
        assert_eq!(key.open(&sealed, "x"), Some((b"hello".to_vec(), 0)));
        let damaged = rotated.wrap_again(8, &row).unwrap_err();
        assert_eq!(damaged, WrapError::Damaged(DamagedKey { owner: 8 }));
    }

    #[test]
    fn a_number_that_was_used_again_is_not_served_from_memory() {
        let mut keys = keys(&["a"]);
        let (first, second) = (keys.create(7).unwrap(), keys.create(7).unwrap());
        let sealed = keys.open(7, &first).unwrap().seal(b"hello", "x").unwrap();
        assert_eq!(keys.open(7, &second).unwrap().open(&sealed, "x"), None);
        assert!(keys.opened(7).is_some());
        keys.forget(7);
        assert!(keys.opened(7).is_none());
    }

    #[test]
    fn few_keys_are_kept_in_memory() {
        let mut keys = keys(&["a"]);
        for owner in 0..1500 {
            let row = keys.create(owner).unwrap();
            keys.open(owner, &row).unwrap();
        }
        assert!(keys.opened.len() <= OPENED_MAX);
        assert!(!format!("{keys:?}").contains("aaaa"));
        keys.clear();
        assert!(keys.opened(1499).is_none());
    }
}
