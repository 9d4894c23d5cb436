//! Files of owners.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Database, Result, found, number, stored};
use crate::{
    model::{Ages, FileDetails, FileRecord, Page, PageQuery, StoreError, Thing},
    settings::CollectionsSettings,
};

const FILE: &str = "id, created, expires, bytes, details, number";
/// A file that exists for its owner at a time.
pub(super) const LIVES: &str = "(files.expires IS NULL OR files.expires > :now)";

type Raw = (FileRecord, Vec<u8>, i64);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let file = FileRecord {
        id: row.get(0)?,
        created: number(row, 1)?,
        expires: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
        bytes: number(row, 3)?,
        details: FileDetails::default(),
    };
    Ok((file, row.get(4)?, row.get(5)?))
}

pub(super) fn about_details(id: &str) -> String {
    format!("file/{id}")
}

pub(super) fn about_content(id: &str) -> String {
    format!("content/{id}")
}

impl Database {
    /// Keeps a file.
    pub(crate) fn add_file(
        &mut self,
        owner: &str,
        file: &FileRecord,
        content: &[u8],
        settings: &CollectionsSettings,
    ) -> Result<()> {
        let owner = self.file.owner_or_new(owner)?;
        let count = "SELECT count(*) FROM files WHERE owner = ?1";
        let count = self
            .file
            .connection
            .query_row(count, [owner], |row| number(row, 0))?;
        if count >= settings.files_max {
            return Err(StoreError::Full {
                what: "files",
                setting: "files_max",
                max: settings.files_max,
            });
        }
        let bytes_max = settings.owner_bytes_max.0;
        if self.bytes_of(owner)?.saturating_add(file.bytes) > bytes_max {
            return Err(StoreError::Full {
                what: "bytes",
                setting: "owner_bytes_max",
                max: bytes_max,
            });
        }
        let details = self
            .file
            .seal_value(owner, &file.details, &about_details(&file.id))?;
        let content = self.file.seal(owner, content, &about_content(&file.id))?;
        let insert = "INSERT INTO files (id, owner, created, expires, bytes, details, content)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (created, bytes) = (stored(file.created), stored(file.bytes));
        let expires = file.expires.map(stored);
        let row = params![file.id, owner, created, expires, bytes, details, content];
        self.file.connection.execute(insert, row)?;
        Ok(())
    }

    /// Returns a file of an owner.
    pub(crate) fn file(&mut self, owner: &str, id: &str, now: u64) -> Result<FileRecord> {
        let owner = found(self.file.owner(owner)?, Thing::File)?;
        let (file, _) = self.file_of(owner, id, now)?;
        Ok(file)
    }

    /// Returns a file of an owner and its number.
    pub(super) fn file_of(&mut self, owner: i64, id: &str, now: u64) -> Result<(FileRecord, i64)> {
        let find =
            format!("SELECT {FILE} FROM files WHERE id = :id AND owner = :owner AND {LIVES}");
        let file = {
            let mut find = self.file.connection.prepare_cached(&find)?;
            let parameters =
                rusqlite::named_params! {":id": id, ":owner": owner, ":now": stored(now)};
            find.query_row(parameters, raw).optional()?
        };
        let (mut file, details, number) = found(file, Thing::File)?;
        file.details = self.file.open_value(owner, &details, &about_details(id))?;
        Ok((file, number))
    }

    /// Returns the content of a file of an owner.
    pub(crate) fn content(&mut self, owner: &str, id: &str, now: u64) -> Result<Vec<u8>> {
        let owner = found(self.file.owner(owner)?, Thing::File)?;
        let (_, file) = self.file_of(owner, id, now)?;
        let find = "SELECT content FROM files WHERE number = ?1";
        let content: Vec<u8> = self
            .file
            .connection
            .query_row(find, [file], |row| row.get(0))?;
        Ok(self.file.open(owner, &content, &about_content(id))?)
    }

    /// Returns files of an owner with a purpose, if one is given.
    pub(crate) fn files(
        &mut self,
        owner: &str,
        page: &PageQuery,
        purpose: Option<&str>,
        now: u64,
    ) -> Result<Page<FileRecord>> {
        let Some(owner) = self.file.owner(owner)? else {
            return page.of_nothing();
        };
        let (after, before) = page.bounds(|id| Ok(self.file_of(owner, id, now)?.1))?;
        let condition = format!("files.owner = :owner AND {LIVES}");
        let select = super::collections::paged("files", FILE, &condition, page);
        let mut rows = {
            let mut select = self.file.connection.prepare_cached(&select)?;
            let parameters = rusqlite::named_params! {
                ":owner": owner, ":now": stored(now), ":after": after, ":before": before,
            };
            let rows = select.query_map(parameters, raw)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()?
        };
        let mut items = Vec::new();
        for (mut file, details, _) in rows.drain(..) {
            file.details = self
                .file
                .open_value(owner, &details, &about_details(&file.id))?;
            if purpose.is_some_and(|purpose| purpose != file.details.purpose) {
                continue;
            }
            items.push(file);
            if items.len() > page.limit {
                break;
            }
        }
        Ok(page.page(items))
    }

    /// Removes a file of an owner, also from all collections.
    pub(crate) fn remove_file(&mut self, owner: &str, id: &str, now: u64) -> Result<()> {
        let owner = found(self.file.owner(owner)?, Thing::File)?;
        let (_, file) = self.file_of(owner, id, now)?;
        self.erase_file(owner, file)
    }

    /// Erases the older version of a document, with its file.
    pub(super) fn erase_replaced(&mut self, owner: i64, member: i64) -> Result<()> {
        let find = "SELECT file FROM members WHERE number = ?1";
        let mut find = self.file.connection.prepare_cached(find)?;
        let file: Option<i64> = find.query_row([member], |row| row.get(0)).optional()?;
        drop(find);
        file.map_or(Ok(()), |file| self.erase_file(owner, file))
    }

    pub(super) fn erase_file(&mut self, owner: i64, file: i64) -> Result<()> {
        self.has_removed = true;
        let replaced = "SELECT replaces FROM members WHERE file = ?1 AND replaces IS NOT NULL";
        let replaced = {
            let mut select = self.file.connection.prepare_cached(replaced)?;
            let rows = select.query_map([file], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<i64>>>()?
        };
        let touch = "UPDATE collections SET version = version + 1, removals = removals + 1
            WHERE number IN (SELECT collection FROM members WHERE file = ?1)";
        self.file.connection.execute(touch, [file])?;
        let chunks =
            "DELETE FROM chunks WHERE member IN (SELECT number FROM members WHERE file = ?1)";
        self.file.connection.execute(chunks, [file])?;
        self.file
            .connection
            .execute("DELETE FROM members WHERE file = ?1", [file])?;
        self.file
            .connection
            .execute("DELETE FROM files WHERE number = ?1", [file])?;
        for member in replaced {
            self.erase_replaced(owner, member)?;
        }
        self.forget_owner(owner)
    }

    /// Removes files and collections that have expired, and files that are too old; a hundred of each at most. Returns how many.
    pub(crate) fn remove_expired(&mut self, now: u64, ages: Ages) -> Result<u64> {
        const EACH: &str = "LIMIT 100";
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let mut old = match ages.document {
            Some(age) => self.remove_created_before(now.saturating_sub(millis(age)))?,
            None => 0,
        };
        old += self.remove_old_members(now, ages.member.map(millis))?;
        let now = stored(now);
        let select = |connection: &rusqlite::Connection, sql: &str| -> Result<Vec<(i64, i64)>> {
            let mut rows = connection.prepare(sql)?;
            let rows = rows.query_map([now], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        };
        let files = format!("SELECT owner, number FROM files WHERE expires <= ?1 {EACH}");
        let files = select(&self.file.connection, &files)?;
        for (owner, file) in &files {
            self.erase_file(*owner, *file)?;
        }
        let collections = format!(
            "SELECT owner, number FROM collections WHERE days IS NOT NULL AND used + days * {} <= ?1 {EACH}",
            super::DAY_MS
        );
        let collections = select(&self.file.connection, &collections)?;
        for (owner, collection) in &collections {
            self.erase_collection(*owner, *collection)?;
        }
        Ok((old + files.len() + collections.len()) as u64)
    }

    /// Removes files from collections in which they have been for longer than these allow, or than `age_max` if a collection says nothing; a
    /// hundred at most. A file that is in no other collection is erased.
    fn remove_old_members(&mut self, now: u64, age_max: Option<u64>) -> Result<usize> {
        let old = format!(
            "SELECT collections.owner, collections.number, members.number, members.file
            FROM collections JOIN members ON members.collection = collections.number
            WHERE members.created <= ?1 - coalesce(collections.file_days * {}, ?2) LIMIT 100",
            super::DAY_MS
        );
        let rows: Vec<(i64, i64, i64, i64)> = {
            let mut old = self.file.connection.prepare_cached(&old)?;
            let rows = old.query_map(params![stored(now), age_max.map(stored)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for (owner, collection, member, file) in &rows {
            let count = "SELECT count(*) FROM members WHERE file = ?1";
            let count = self
                .file
                .connection
                .query_row(count, [file], |row| number(row, 0))?;
            if count > 1 {
                self.take_out(*collection, *member)?;
            } else {
                self.erase_file(*owner, *file)?;
            }
        }
        Ok(rows.len())
    }

    /// Removes the oldest files that were created before a time, a hundred at most. Files are numbered in the order of their creation.
    fn remove_created_before(&mut self, before: u64) -> Result<usize> {
        let oldest = "SELECT owner, number, created FROM files ORDER BY number LIMIT 100";
        let rows: Vec<(i64, i64, u64)> = {
            let mut oldest = self.file.connection.prepare_cached(oldest)?;
            let rows =
                oldest.query_map([], |row| Ok((row.get(0)?, row.get(1)?, number(row, 2)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        let mut removed = 0;
        for (owner, file, _) in rows.iter().filter(|(_, _, created)| *created < before) {
            self.erase_file(*owner, *file)?;
            removed += 1;
        }
        Ok(removed)
    }
}
