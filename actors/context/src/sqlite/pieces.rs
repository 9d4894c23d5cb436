//! The sealed pieces of a file and their associated data.
//!
//! Each tenant has a key of its own, which seals all of its pieces, those of its spaces too. A piece of an earlier format is sealed with
//! the master key; such pieces are accepted while some may be left.

use std::sync::Arc;

use kebne_seal::{Keyring, OwnerKeys};
use rusqlite::{OptionalExtension as _, params};

use super::{
    database::{Database, Sealed},
    problem::Problem,
};
use crate::store::{StoreError, tenant_of};

impl Database {
    pub(super) fn seal_details(
        &self,
        id: &str,
        owner: &str,
        sealed: &Sealed,
    ) -> Result<Vec<u8>, Problem> {
        let plain = serde_json::to_vec(sealed)
            .map_err(|error| StoreError::Failed(format!("session `{id}`: {error}")))?;
        self.seal(owner, plain, &about_details(id, owner))
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.keys.is_some()
    }

    /// Refuses pieces of earlier formats from now on: those that do not name their owner, and those without its key.
    pub(super) fn refuse_earlier(&self) {
        self.unowned.set(false);
        self.unkeyed.set(false);
    }

    /// Seals a piece with the key of its owner's tenant, which is created if there is none.
    pub(super) fn seal(
        &self,
        owner: &str,
        plain: Vec<u8>,
        about: &str,
    ) -> Result<Vec<u8>, Problem> {
        let Some(keys) = &self.keys else {
            return Ok(plain);
        };
        let tenant = tenant_of(owner);
        let key = match self.key_of(tenant)? {
            Some(key) => key,
            None => self.new_key(&mut keys.borrow_mut(), tenant)?,
        };
        Ok(key.seal(&plain, about)?)
    }

    fn new_key(&self, keys: &mut OwnerKeys, tenant: &str) -> Result<Arc<Keyring>, Problem> {
        let insert = "INSERT INTO keys (tenant, key) VALUES (?1, x'')";
        self.connection.prepare_cached(insert)?.execute([tenant])?;
        let number = self.connection.last_insert_rowid();
        let row = keys.create(number)?;
        let update = "UPDATE keys SET key = ?2 WHERE number = ?1";
        let mut update = self.connection.prepare_cached(update)?;
        update.execute(params![number, row])?;
        Ok(keys.open(number, &row)?)
    }

    /// Returns the key of a tenant; `None` if it has none, or the file is not encrypted.
    fn key_of(&self, tenant: &str) -> Result<Option<Arc<Keyring>>, Problem> {
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        // Read each time, because another process may have erased the key.
        let find = "SELECT number, key FROM keys WHERE tenant = ?1";
        let mut find = self.connection.prepare_cached(find)?;
        let row: Option<(i64, Vec<u8>)> = find
            .query_row([tenant], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((number, row)) = row else {
            return Ok(None);
        };
        Ok(Some(keys.borrow_mut().open(number, &row)?))
    }

    /// Erases the key of a tenant; returns `true` if there was one.
    pub(super) fn erase_key(&self, tenant: &str) -> Result<bool, Problem> {
        let erase = "DELETE FROM keys WHERE tenant = ?1 RETURNING number";
        let mut erase = self.connection.prepare_cached(erase)?;
        let number: Option<i64> = erase.query_row([tenant], |row| row.get(0)).optional()?;
        if let (Some(number), Some(keys)) = (number, &self.keys) {
            keys.borrow_mut().forget(number);
        }
        Ok(number.is_some())
    }

    /// Returns `true` if a tenant has a key.
    pub(super) fn has_key(&self, tenant: &str) -> Result<bool, Problem> {
        let find = "SELECT 1 FROM keys WHERE tenant = ?1";
        Ok(self.connection.prepare_cached(find)?.exists([tenant])?)
    }

    /// Erases the keys of tenants of which nothing is left, unless pieces may be left that need the key of a former owner.
    pub(super) fn erase_needless_keys(&self) -> Result<(), Problem> {
        let stale = "SELECT 1 FROM lock WHERE name <> 'check'
            UNION ALL SELECT 1 FROM removed LIMIT 1";
        if self.connection.prepare_cached(stale)?.exists([])? {
            self.may_have_needless_keys.set(true);
            return Ok(());
        }
        let needless = "SELECT tenant FROM keys WHERE NOT EXISTS (
            SELECT 1 FROM owners WHERE owner = keys.tenant
                OR (owner >= keys.tenant || char(31) AND owner < keys.tenant || char(32)))";
        let mut needless = self.connection.prepare_cached(needless)?;
        let tenants = needless.query_map([], |row| row.get(0))?;
        let tenants: Vec<String> = tenants.collect::<Result<_, _>>()?;
        for tenant in &tenants {
            self.erase_key(tenant)?;
        }
        Ok(())
    }

    /// Opens a piece that belongs to one of some owners, with its associated data under each of them; the present owner comes first.
    /// `unowned` is the associated data of a piece that does not name its owner. The second value is `true` if the piece is sealed with
    /// the present owner's key.
    pub(super) fn unseal<'o>(
        &self,
        kept: Vec<u8>,
        owners: impl Iterator<Item = (&'o str, String)> + Clone,
        unowned: impl FnOnce() -> String,
    ) -> Result<(Vec<u8>, bool), Problem> {
        let Some(keys) = &self.keys else {
            return Ok((kept, true));
        };
        for (place, (owner, about)) in owners.clone().enumerate() {
            if let Some(key) = self.key_of(tenant_of(owner))?
                && let Some((plain, _)) = key.open(&kept, &about)
            {
                return Ok((plain, place == 0));
            }
        }
        let present = owners.clone().next();
        let keys = keys.borrow();
        if self.unkeyed.get() {
            for (_, about) in owners {
                if let Some((plain, _)) = keys.master().open(&kept, &about) {
                    return Ok((plain, false));
                }
            }
        }
        if self.unowned.get()
            && let Some((plain, _)) = keys.master().open(&kept, &unowned())
        {
            return Ok((plain, false));
        }
        let present = present.map(|(_, about)| about).unwrap_or_default();
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
