//! Files of owners.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Database, Result, found, number, stored};
use crate::{
    model::{FileDetails, FileRecord, Page, PageQuery, StoreError, Thing},
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
        content: Vec<u8>,
        settings: &CollectionsSettings,
    ) -> Result<()> {
        let owner = self.owner_or_new(owner)?;
        let count = "SELECT count(*) FROM files WHERE owner = ?1";
        let count = self
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
        let details = self.seal(owner, &file.details, &about_details(&file.id))?;
        let content = self.seal_bytes(owner, content, &about_content(&file.id))?;
        let insert = "INSERT INTO files (id, owner, created, expires, bytes, details, content)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (created, bytes) = (stored(file.created), stored(file.bytes));
        let expires = file.expires.map(stored);
        let row = params![file.id, owner, created, expires, bytes, details, content];
        self.connection.execute(insert, row)?;
        Ok(())
    }

    /// Returns a file of an owner.
    pub(crate) fn file(&mut self, owner: &str, id: &str, now: u64) -> Result<FileRecord> {
        let owner = found(self.owner(owner)?, Thing::File)?;
        let (file, _) = self.file_of(owner, id, now)?;
        Ok(file)
    }

    /// Returns a file of an owner and its number.
    pub(super) fn file_of(&mut self, owner: i64, id: &str, now: u64) -> Result<(FileRecord, i64)> {
        let find =
            format!("SELECT {FILE} FROM files WHERE id = :id AND owner = :owner AND {LIVES}");
        let file = {
            let mut find = self.connection.prepare_cached(&find)?;
            let parameters =
                rusqlite::named_params! {":id": id, ":owner": owner, ":now": stored(now)};
            find.query_row(parameters, raw).optional()?
        };
        let (mut file, details, number) = found(file, Thing::File)?;
        file.details = self.open_piece(owner, &details, &about_details(id))?;
        Ok((file, number))
    }

    /// Returns the content of a file of an owner.
    pub(crate) fn content(&mut self, owner: &str, id: &str, now: u64) -> Result<Vec<u8>> {
        let owner = found(self.owner(owner)?, Thing::File)?;
        let (_, file) = self.file_of(owner, id, now)?;
        let find = "SELECT content FROM files WHERE number = ?1";
        let content: Vec<u8> = self.connection.query_row(find, [file], |row| row.get(0))?;
        self.open_bytes(owner, &content, &about_content(id))
    }

    /// Returns files of an owner with a purpose, if one is given.
    pub(crate) fn files(
        &mut self,
        owner: &str,
        page: &PageQuery,
        purpose: Option<&str>,
        now: u64,
    ) -> Result<Page<FileRecord>> {
        let Some(owner) = self.owner(owner)? else {
            return page.of_nothing(Thing::File);
        };
        let bound = |database: &mut Self, id: &Option<String>| match id {
            Some(id) => Ok::<_, StoreError>(Some(database.file_of(owner, id, now)?.1)),
            None => Ok(None),
        };
        let (after, before) = (bound(self, &page.after)?, bound(self, &page.before)?);
        let condition = format!("files.owner = :owner AND {LIVES}");
        let select = super::collections::paged("files", FILE, &condition, page.oldest_first);
        let mut rows = {
            let mut select = self.connection.prepare_cached(&select)?;
            let parameters = rusqlite::named_params! {
                ":owner": owner, ":now": stored(now), ":after": after, ":before": before,
            };
            let rows = select.query_map(parameters, raw)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()?
        };
        let mut items = Vec::new();
        for (mut file, details, _) in rows.drain(..) {
            file.details = self.open_piece(owner, &details, &about_details(&file.id))?;
            if purpose.is_some_and(|purpose| purpose != file.details.purpose) {
                continue;
            }
            if items.len() == page.limit {
                return Ok(Page {
                    items,
                    has_more: true,
                });
            }
            items.push(file);
        }
        Ok(Page {
            items,
            has_more: false,
        })
    }

    /// Removes a file of an owner, also from all collections.
    pub(crate) fn remove_file(&mut self, owner: &str, id: &str, now: u64) -> Result<()> {
        let owner = found(self.owner(owner)?, Thing::File)?;
        let (_, file) = self.file_of(owner, id, now)?;
        self.erase_file(owner, file)
    }

    fn erase_file(&mut self, owner: i64, file: i64) -> Result<()> {
        let touch = "UPDATE collections SET version = version + 1
            WHERE number IN (SELECT collection FROM members WHERE file = ?1)";
        self.connection.execute(touch, [file])?;
        let chunks =
            "DELETE FROM chunks WHERE member IN (SELECT number FROM members WHERE file = ?1)";
        self.connection.execute(chunks, [file])?;
        self.connection
            .execute("DELETE FROM members WHERE file = ?1", [file])?;
        self.connection
            .execute("DELETE FROM files WHERE number = ?1", [file])?;
        self.forget_owner(owner)
    }

    /// Removes files and collections that have expired, a hundred at most. Returns how many.
    pub(crate) fn remove_expired(&mut self, now: u64) -> Result<usize> {
        const EACH: &str = "LIMIT 100";
        let now = stored(now);
        let select = |connection: &rusqlite::Connection, sql: &str| -> Result<Vec<(i64, i64)>> {
            let mut rows = connection.prepare(sql)?;
            let rows = rows.query_map([now], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        };
        let files = format!("SELECT owner, number FROM files WHERE expires <= ?1 {EACH}");
        let files = select(&self.connection, &files)?;
        for (owner, file) in &files {
            self.erase_file(*owner, *file)?;
        }
        let collections = format!(
            "SELECT owner, number FROM collections WHERE days IS NOT NULL AND used + days * {} <= ?1 {EACH}",
            super::DAY_MS
        );
        let collections = select(&self.connection, &collections)?;
        for (owner, collection) in &collections {
            self.erase_collection(*owner, *collection)?;
        }
        Ok(files.len() + collections.len())
    }
}
