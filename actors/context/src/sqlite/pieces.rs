//! The sealed pieces of a file and their associated data.

use super::{
    database::{Database, Sealed},
    problem::Problem,
};
use crate::store::StoreError;

impl Database {
    pub(super) fn seal_details(
        &self,
        id: &str,
        owner: &str,
        sealed: &Sealed,
    ) -> Result<Vec<u8>, Problem> {
        let plain = serde_json::to_vec(sealed)
            .map_err(|error| StoreError::Failed(format!("session `{id}`: {error}")))?;
        self.seal(plain, &about_details(id, owner))
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.keyring.is_some()
    }

    /// Returns `true` if pieces that do not name their owner are accepted.
    pub(super) fn accepts_unowned(&self) -> bool {
        self.unowned.get()
    }

    /// Refuses pieces that do not name their owner from now on.
    pub(super) fn refuse_unowned(&self) {
        self.unowned.set(false);
    }

    pub(super) fn seal(&self, plain: Vec<u8>, about: &str) -> Result<Vec<u8>, Problem> {
        match &self.keyring {
            Some(keyring) => Ok(keyring.seal(&plain, about)?),
            None => Ok(plain),
        }
    }

    /// Opens a piece whose associated data is one of `abouts`. The second value is `true` if it was sealed with the
    /// first key and the first of `abouts`.
    pub(super) fn unseal(
        &self,
        kept: Vec<u8>,
        abouts: impl IntoIterator<Item = String>,
    ) -> Result<(Vec<u8>, bool), Problem> {
        let Some(keyring) = &self.keyring else {
            return Ok((kept, true));
        };
        let mut present = String::new();
        for (place, about) in abouts.into_iter().enumerate() {
            if let Some((plain, key)) = keyring.open(&kept, &about) {
                return Ok((plain, place == 0 && key == 0));
            }
            if place == 0 {
                present = about;
            }
        }
        let message = format!("{present}: it was changed or cut off, or has another key");
        Err(StoreError::Damaged(message).into())
    }
}

/// The length of the id makes the separation of id and owner unambiguous.
pub(super) fn about_details(id: &str, owner: &str) -> String {
    format!("details of session {} {id} of {owner}", id.len())
}

pub(super) fn about_unowned_details(id: &str) -> String {
    format!("details of session {id}")
}
