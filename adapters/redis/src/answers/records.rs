//! How answers, questions and what was learned are sealed.

use std::fmt::Write as _;

use kebne_answer_cache::{Keyring, StoreError};
use kebne_cache::Key;
use kebne_seal::{OwnerKeys, WrongKey, compare_check, new_check};

/// What a key of a call is signed for.
const PURPOSE: &str = "call of the cache";
/// The check of answers that are not sealed.
const PLAIN: &[u8] = b"not encrypted";

type Result<T> = std::result::Result<T, StoreError>;

/// The keys of owners, if there is a master key.
pub(super) struct Sealing {
    keys: Option<OwnerKeys>,
    /// The rows of the keys that were opened, by owner.
    rows: std::collections::HashMap<i64, Vec<u8>>,
}

impl Sealing {
    pub(super) fn new(keyring: Option<Keyring>) -> Self {
        Self {
            keys: keyring.map(OwnerKeys::new),
            rows: std::collections::HashMap::new(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.keys.is_some()
    }

    /// Returns the check with which the first gateway marks the server.
    pub(super) fn new_check(&self, about: &str) -> Result<Vec<u8>> {
        match &self.keys {
            None => Ok(PLAIN.to_vec()),
            Some(keys) => new_check(keys.master(), about).map_err(failed),
        }
    }

    /// Returns `true` if what the server holds is sealed with an old master key.
    pub(super) fn is_old(&self, check: &[u8], about: &str) -> Result<bool> {
        let check = Some(check).filter(|check| *check != PLAIN);
        let master = self.keys.as_ref().map(OwnerKeys::master);
        compare_check(master, check, about).map_err(|wrong| {
            let reason = match wrong {
                WrongKey::Other => "the answers in Redis are encrypted with another key",
                WrongKey::Missing => "the answers in Redis are encrypted, and no key is set",
                WrongKey::Needless => {
                    "a key is set, but the answers in Redis were written without encryption"
                }
            };
            StoreError::Damaged(reason.to_owned())
        })
    }

    /// Returns the row of a new key.
    pub(super) fn new_row(&self, owner: i64) -> Result<Vec<u8>> {
        let row = self.keys.as_ref().map(|keys| keys.create(owner));
        row.transpose()
            .map_err(failed)
            .map(Option::unwrap_or_default)
    }

    /// Returns a row sealed with the first master key; `None` if it already is.
    pub(super) fn wrap_again(&self, owner: i64, row: &[u8]) -> Result<Option<Vec<u8>>> {
        match &self.keys {
            None => Ok(None),
            Some(keys) => keys.wrap_again(owner, row).map_err(failed),
        }
    }

    /// Opens the key of an owner.
    pub(super) fn open_owner(&mut self, owner: i64, row: &[u8]) -> Result<()> {
        if let Some(keys) = &mut self.keys {
            keys.open(owner, row).map_err(failed)?;
            self.rows.insert(owner, row.to_vec());
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, owner: i64) {
        self.rows.remove(&owner);
        if let Some(keys) = &mut self.keys {
            keys.forget(owner);
        }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        if let Some(keys) = &mut self.keys {
            keys.clear();
        }
    }

    /// Returns the key of an owner, which was opened before; `None` if nothing is sealed.
    fn key(&mut self, owner: i64) -> Result<Option<std::sync::Arc<Keyring>>> {
        let Some(keys) = &mut self.keys else {
            return Ok(None);
        };
        let row = self.rows.get(&owner).map(Vec::as_slice);
        let key = keys.open(owner, row.unwrap_or_default());
        key.map(Some).map_err(failed)
    }

    /// Returns the name of a call or of a group: digits that say nothing without the key of the owner.
    pub(super) fn hidden(&mut self, owner: i64, key: Key) -> Result<String> {
        let bytes = match self.key(owner)? {
            Some(of_owner) => of_owner.sign(PURPOSE, &key.0),
            None => key.0,
        };
        let mut digits = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            // Writing to a string does not fail.
            write!(digits, "{byte:02x}").ok();
        }
        Ok(digits)
    }

    /// Returns the name of an answer.
    pub(super) fn id(&mut self, owner: i64, key: Key) -> Result<String> {
        Ok(format!("{owner}:{}", self.hidden(owner, key)?))
    }

    pub(super) fn seal(&mut self, owner: i64, plain: &[u8], about: &str) -> Result<Vec<u8>> {
        match self.key(owner)? {
            Some(key) => key.seal(plain, about).map_err(failed),
            None => Ok(plain.to_vec()),
        }
    }

    pub(super) fn open(&mut self, owner: i64, sealed: &[u8], about: &str) -> Result<Vec<u8>> {
        let Some(key) = self.key(owner)? else {
            return Ok(sealed.to_vec());
        };
        let broken = || StoreError::Damaged(format!("`{about}` cannot be decrypted"));
        Ok(key.open(sealed, about).ok_or_else(broken)?.0)
    }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(error.to_string())
}
