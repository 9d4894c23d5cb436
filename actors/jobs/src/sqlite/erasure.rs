//! The steps that erase an owner.

use rusqlite::params;

use super::{Database, ROWS_AT_ONCE, Result, number, optional};
use crate::model::held::Holdings;

impl Database {
    /// Returns what is held of an owner.
    pub(crate) fn held(&self, owner: &str) -> Result<Holdings> {
        let Some(owner) = self.file.owner(owner)? else {
            return Ok(Holdings::default());
        };
        let count = "SELECT
            (SELECT count(*) FROM jobs WHERE owner = ?1),
            (SELECT count(*) FROM batches WHERE owner = ?1),
            (SELECT count(*) FROM deliveries WHERE owner = ?1),
            (SELECT min(at) FROM (SELECT min(created) AS at FROM jobs WHERE owner = ?1
                UNION ALL SELECT min(created) FROM batches WHERE owner = ?1)),
            (SELECT max(at) FROM (SELECT max(created) AS at FROM jobs WHERE owner = ?1
                UNION ALL SELECT max(created) FROM batches WHERE owner = ?1)),
            (SELECT key IS NOT NULL FROM owners WHERE number = ?1)";
        let bytes = self.bytes_of(owner)?;
        let mut count = self.file.connection.prepare_cached(count)?;
        Ok(count.query_row([owner], |row| {
            Ok(Holdings {
                jobs: number(row, 0)?,
                batches: number(row, 1)?,
                notices: number(row, 2)?,
                bytes,
                oldest: optional(row, 3)?,
                newest: optional(row, 4)?,
                has_key: row.get(5)?,
            })
        })?)
    }

    /// Erases a part of what is held of an owner. Returns what is left; the last step erases the key.
    pub(crate) fn erase_part(&mut self, name: &str, bytes_max: u64) -> Result<Holdings> {
        if let Some(owner) = self.file.owner(name)? {
            self.remove_jobs("owner = ?1", owner, bytes_max)?;
            for table in ["deliveries", "batches"] {
                let remove = format!(
                    "DELETE FROM {table} WHERE number IN (SELECT number FROM {table} WHERE owner = ?1 LIMIT ?2)"
                );
                self.file
                    .connection
                    .execute(&remove, params![owner, ROWS_AT_ONCE])?;
            }
            self.forget_owner(owner)?;
        }
        self.held(name)
    }
}
