//! The steps that count and remove what is held of owners.

use rusqlite::params;

use crate::{
    sqlite::database::{Database, number, stored},
    store::{Holdings, StoreError},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Rows that one step removes of each table, so that other steps do not wait long.
const ROWS_AT_ONCE: i64 = 500;

impl Database {
    /// Removes runs that ended before a time, a part of them, and the keys of owners of whom nothing is left.
    pub(super) fn sweep(&mut self, before: u64, bytes_max: u64) -> Result<u64> {
        let removed = self.remove_runs("ended < ?1", stored(before), bytes_max)?;
        if removed > 0 {
            for owner in self.file.all_owners()? {
                self.forget_owner(owner)?;
            }
        }
        Ok(removed)
    }

    /// Removes runs for which a condition on a number holds: so many bytes of them, and one at least.
    fn remove_runs(&mut self, condition: &str, of: i64, bytes_max: u64) -> Result<u64> {
        let select = format!(
            "SELECT number, (SELECT coalesce(sum(length(data)), 0) FROM events WHERE run = number)
             FROM runs WHERE {condition} LIMIT ?2"
        );
        let found: Vec<(i64, u64)> = {
            let mut select = self.file.connection.prepare_cached(&select)?;
            let rows = select.query_map(params![of, ROWS_AT_ONCE], |row| {
                Ok((row.get(0)?, number(row, 1)?))
            })?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        let (mut removed, mut bytes) = (0, 0);
        for (run, size) in found {
            if removed > 0 && bytes + size > bytes_max {
                break;
            }
            bytes += size;
            removed += 1;
            for remove in [
                "DELETE FROM events WHERE run = ?1",
                "DELETE FROM runs WHERE number = ?1",
            ] {
                self.file
                    .connection
                    .prepare_cached(remove)?
                    .execute([run])?;
            }
        }
        Ok(removed)
    }

    /// Removes an owner's key if nothing of it is left.
    pub(super) fn forget_owner(&mut self, owner: i64) -> Result<()> {
        let tables = ["runs", "agents"];
        self.file.remove_owner_unless_in(owner, &tables)?;
        Ok(())
    }

    pub(super) fn held(&self, owner: &str) -> Result<Holdings> {
        let Some(owner) = self.file.owner(owner)? else {
            return Ok(Holdings::default());
        };
        let count = "SELECT
            (SELECT count(*) FROM agents WHERE owner = ?1), (SELECT count(*) FROM runs WHERE owner = ?1),
            (SELECT count(*) FROM events WHERE run IN (SELECT number FROM runs WHERE owner = ?1)),
            (SELECT coalesce(sum(length(data)), 0) FROM events WHERE run IN (SELECT number FROM runs WHERE owner = ?1)),
            (SELECT coalesce(sum(length(spec)), 0) FROM agents WHERE owner = ?1),
            (SELECT min(created) FROM runs WHERE owner = ?1), (SELECT max(created) FROM runs WHERE owner = ?1),
            (SELECT key IS NOT NULL FROM owners WHERE number = ?1)";
        let mut count = self.file.connection.prepare_cached(count)?;
        let optional = |row: &rusqlite::Row<'_>, index: usize| {
            let time = row.get::<_, Option<i64>>(index);
            time.map(|time| time.map(i64::unsigned_abs))
        };
        Ok(count.query_row([owner], |row| {
            Ok(Holdings {
                agents: number(row, 0)?,
                runs: number(row, 1)?,
                events: number(row, 2)?,
                bytes: number(row, 3)? + number(row, 4)?,
                oldest: optional(row, 5)?,
                newest: optional(row, 6)?,
                has_key: row.get(7)?,
            })
        })?)
    }

    /// Erases a part of what is held of an owner. Returns what is left; the last step erases the key.
    pub(super) fn erase_part(&mut self, name: &str, bytes_max: u64) -> Result<Holdings> {
        if let Some(owner) = self.file.owner(name)? {
            self.remove_runs("owner = ?1", owner, bytes_max)?;
            let remove = "DELETE FROM agents WHERE owner = ?1";
            self.file.connection.execute(remove, [owner])?;
            self.forget_owner(owner)?;
        }
        self.held(name)
    }
}
