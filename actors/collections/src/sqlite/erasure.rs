//! The steps that erase an owner.

use rusqlite::{OptionalExtension as _, params};

use super::{Database, Result, number};
use crate::model::held::{Holdings, Step};

/// Chunks and files that one step erases. A chunk and its vector take about 1 KiB.
const CHUNKS: i64 = 2000;
const FILES: i64 = 20;

impl Database {
    /// Returns what is held of an owner.
    pub(crate) fn held(&self, owner: &str) -> Result<Holdings> {
        let Some(owner) = self.file.owner(owner)? else {
            return Ok(Holdings::default());
        };
        let count = "SELECT
            (SELECT count(*) FROM collections WHERE owner = ?1),
            (SELECT count(*) FROM files WHERE owner = ?1),
            (SELECT count(*) FROM chunks WHERE collection IN (SELECT number FROM collections WHERE owner = ?1)),
            (SELECT min(created) FROM (SELECT created FROM collections WHERE owner = ?1
                UNION ALL SELECT created FROM files WHERE owner = ?1)),
            (SELECT max(used) FROM (SELECT used FROM collections WHERE owner = ?1
                UNION ALL SELECT created FROM files WHERE owner = ?1)),
            (SELECT key IS NOT NULL FROM owners WHERE number = ?1)";
        let time = |row: &rusqlite::Row<'_>, column| -> rusqlite::Result<Option<u64>> {
            Ok(row.get::<_, Option<i64>>(column)?.map(i64::unsigned_abs))
        };
        let bytes = self.bytes_of(owner)?;
        let mut count = self.file.connection.prepare_cached(count)?;
        Ok(count.query_row([owner], |row| {
            Ok(Holdings {
                collections: number(row, 0)?,
                files: number(row, 1)?,
                chunks: number(row, 2)?,
                bytes,
                oldest: time(row, 3)?,
                newest: time(row, 4)?,
                has_key: row.get(5)?,
            })
        })?)
    }

    /// Lets all files and collections of an owner expire, so that no step finds them any more; returns what they hold.
    pub(crate) fn hide(&mut self, owner: &str) -> Result<Holdings> {
        let held = self.held(owner)?;
        if let Some(owner) = self.file.owner(owner)? {
            let collections = "UPDATE collections SET days = 0, used = 0 WHERE owner = ?1";
            self.file.connection.execute(collections, [owner])?;
            let files = "UPDATE files SET expires = 0 WHERE owner = ?1";
            self.file.connection.execute(files, [owner])?;
        }
        Ok(held)
    }

    /// Erases a part of what is hidden of an owner. The last step erases its key, if it has created nothing meanwhile.
    pub(crate) fn erase_hidden(&mut self, name: &str) -> Result<Step> {
        let mut step = Step::default();
        let Some(owner) = self.file.owner(name)? else {
            return Ok(step);
        };
        let had_key = self.held_key(owner)?;
        let find = "SELECT number FROM collections WHERE owner = ?1 AND days = 0 LIMIT 1";
        let collection: Option<i64> = self
            .file
            .connection
            .query_row(find, [owner], |row| row.get(0))
            .optional()?;
        if let Some(collection) = collection {
            let chunks = "DELETE FROM chunks WHERE number IN
                (SELECT number FROM chunks WHERE collection = ?1 LIMIT ?2)";
            let chunks = self
                .file
                .connection
                .execute(chunks, params![collection, CHUNKS])?;
            if i64::try_from(chunks).unwrap_or(i64::MAX) < CHUNKS {
                self.erase_collection(owner, collection)?;
                step.collection = Some(collection);
            }
        } else {
            let files = "SELECT number FROM files WHERE owner = ?1 AND expires = 0 LIMIT ?2";
            let files: Vec<i64> = {
                let mut select = self.file.connection.prepare_cached(files)?;
                let files = select.query_map(params![owner, FILES], |row| row.get(0))?;
                files.collect::<rusqlite::Result<_>>()?
            };
            for file in files {
                self.erase_file(owner, file)?;
            }
            // An owner of nothing may have been left with a key.
            self.forget_owner(owner)?;
        }
        step.key_erased = had_key && self.file.owner(name)?.is_none();
        let left = "SELECT EXISTS (SELECT 1 FROM collections WHERE owner = ?1 AND days = 0)
            OR EXISTS (SELECT 1 FROM files WHERE owner = ?1 AND expires = 0)";
        let mut left = self.file.connection.prepare_cached(left)?;
        step.has_more = left.query_row([owner], |row| row.get(0))?;
        Ok(step)
    }

    fn held_key(&self, owner: i64) -> Result<bool> {
        let find = "SELECT key IS NOT NULL FROM owners WHERE number = ?1";
        let mut find = self.file.connection.prepare_cached(find)?;
        Ok(find.query_row([owner], |row| row.get(0))?)
    }
}
