//! Collections of owners.

use rusqlite::{OptionalExtension as _, Row, named_params, params};

use super::{DAY_MS, Database, Result, found, number, stored};
use crate::{
    model::{
        Collection, CollectionChange, CollectionDetails, Counts, Page, PageQuery, StoreError, Thing,
    },
    settings::CollectionsSettings,
};

const COLLECTION: &str = "id, created, used, days, details, number, file_days";
/// The time between two notes of the last use of a collection.
const USE_EVERY_MS: u64 = 60_000;

/// Returns the condition of a collection that exists for its owner at a time.
pub(super) fn lives() -> String {
    format!("(collections.days IS NULL OR collections.used + collections.days * {DAY_MS} > :now)")
}

/// Returns a query of a part of a list by the numbers of its rows. The rows are read until a page is full, from its end if it is to be read
/// in reverse.
pub(super) fn paged(table: &str, columns: &str, condition: &str, page: &PageQuery) -> String {
    let (behind, ahead) = if page.oldest_first {
        (">", "<")
    } else {
        ("<", ">")
    };
    let order = if page.oldest_first == page.is_reverse() {
        "DESC"
    } else {
        "ASC"
    };
    format!(
        "SELECT {columns} FROM {table} WHERE {condition}
            AND (:after IS NULL OR {table}.number {behind} :after)
            AND (:before IS NULL OR {table}.number {ahead} :before)
        ORDER BY {table}.number {order}"
    )
}

type Raw = (Collection, Vec<u8>, i64);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let collection = Collection {
        id: row.get(0)?,
        created: number(row, 1)?,
        used: number(row, 2)?,
        expires_after_days: row.get(3)?,
        file_days: row.get(6)?,
        details: CollectionDetails::default(),
        counts: Counts::default(),
        bytes: 0,
        waiting: 0,
    };
    Ok((collection, row.get(4)?, row.get(5)?))
}

fn about(id: &str) -> String {
    format!("collection/{id}")
}

impl Database {
    /// Creates an empty collection.
    pub(crate) fn add_collection(
        &mut self,
        owner: &str,
        collection: &Collection,
        settings: &CollectionsSettings,
    ) -> Result<()> {
        let owner = self.file.owner_or_new(owner)?;
        let count = "SELECT count(*) FROM collections WHERE owner = ?1";
        let count = self
            .file
            .connection
            .query_row(count, [owner], |row| number(row, 0))?;
        if count >= settings.collections_max {
            return Err(StoreError::Full {
                what: "vector stores",
                setting: "collections_max",
                max: settings.collections_max,
            });
        }
        let details = self
            .file
            .seal_value(owner, &collection.details, &about(&collection.id))?;
        let insert =
            "INSERT INTO collections (id, owner, created, used, days, version, details, file_days)
            VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7)";
        let (created, used) = (stored(collection.created), stored(collection.used));
        let (days, file_days) = (collection.expires_after_days, collection.file_days);
        let row = params![
            collection.id,
            owner,
            created,
            used,
            days,
            details,
            file_days
        ];
        self.file.connection.execute(insert, row)?;
        Ok(())
    }

    /// Returns a collection of an owner.
    pub(crate) fn collection(&mut self, owner: &str, id: &str, now: u64) -> Result<Collection> {
        let owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let raw = self.collection_of(owner, id, now)?;
        self.complete(owner, raw)
    }

    pub(super) fn collection_of(&self, owner: i64, id: &str, now: u64) -> Result<Raw> {
        let lives = lives();
        let find = format!(
            "SELECT {COLLECTION} FROM collections WHERE id = :id AND owner = :owner AND {lives}"
        );
        let mut find = self.file.connection.prepare_cached(&find)?;
        let parameters = named_params! {":id": id, ":owner": owner, ":now": stored(now)};
        found(
            find.query_row(parameters, raw).optional()?,
            Thing::Collection,
        )
    }

    /// Adds the sealed fields and the states of the files.
    fn complete(
        &mut self,
        owner: i64,
        (mut collection, details, number_of): Raw,
    ) -> Result<Collection> {
        collection.details = self
            .file
            .open_value(owner, &details, &about(&collection.id))?;
        let count = "SELECT status, count(*), coalesce(sum(bytes), 0) FROM members WHERE collection = ?1 GROUP BY status";
        collection.waiting = self.waiting(Some(number_of))?;
        let mut count = self.file.connection.prepare_cached(count)?;
        let mut rows = count.query([number_of])?;
        while let Some(row) = rows.next()? {
            let (status, files): (String, u64) = (row.get(0)?, number(row, 1)?);
            collection.bytes += number(row, 2)?;
            match status.as_str() {
                "completed" => collection.counts.completed = files,
                "failed" => collection.counts.failed = files,
                "cancelled" => collection.counts.cancelled = files,
                _ => collection.counts.in_progress = files,
            }
        }
        Ok(collection)
    }

    /// Returns collections of an owner.
    pub(crate) fn collections(
        &mut self,
        owner: &str,
        page: &PageQuery,
        now: u64,
    ) -> Result<Page<Collection>> {
        let Some(owner) = self.file.owner(owner)? else {
            return page.of_nothing();
        };
        let (after, before) = page.bounds(|id| Ok(self.collection_of(owner, id, now)?.2))?;
        let condition = format!("collections.owner = :owner AND {}", lives());
        let select = paged("collections", COLLECTION, &condition, page);
        let rows = {
            let mut select = self.file.connection.prepare_cached(&select)?;
            let parameters = named_params! {
                ":owner": owner, ":now": stored(now), ":after": after, ":before": before,
            };
            let rows = select.query_map(parameters, raw)?;
            rows.take(page.limit + 1)
                .collect::<rusqlite::Result<Vec<_>>>()?
        };
        let Page { items, has_more } = page.page(rows);
        let items = items.into_iter().map(|raw| self.complete(owner, raw));
        Ok(Page {
            items: items.collect::<Result<_>>()?,
            has_more,
        })
    }

    /// Changes fields of a collection.
    pub(crate) fn change_collection(
        &mut self,
        owner: &str,
        id: &str,
        change: CollectionChange,
        now: u64,
    ) -> Result<Collection> {
        let owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let raw = self.collection_of(owner, id, now)?;
        let number = raw.2;
        let mut collection = self.complete(owner, raw)?;
        if let Some(name) = change.name {
            collection.details.name = name;
        }
        if let Some(metadata) = change.metadata {
            collection.details.metadata = metadata;
        }
        if let Some(days) = change.expires_after_days {
            collection.expires_after_days = days;
        }
        if let Some(days) = change.file_days {
            collection.file_days = days;
        }
        collection.used = now;
        let details = self
            .file
            .seal_value(owner, &collection.details, &about(id))?;
        let update = "UPDATE collections SET details = ?2, days = ?3, used = ?4, file_days = ?5 WHERE number = ?1";
        let (days, file_days) = (collection.expires_after_days, collection.file_days);
        let row = params![number, details, days, stored(now), file_days];
        self.file.connection.execute(update, row)?;
        Ok(collection)
    }

    /// Notes that collections of an owner are used.
    pub(crate) fn touch(&mut self, owner: &str, ids: &[String], now: u64) -> Result<()> {
        let update = "UPDATE collections SET used = ?3 WHERE id = ?2 AND used < ?4
            AND owner = (SELECT number FROM owners WHERE name = ?1)";
        let mut update = self.file.connection.prepare_cached(update)?;
        for id in ids {
            let old = stored(now.saturating_sub(USE_EVERY_MS));
            update.execute(params![owner, id, stored(now), old])?;
        }
        Ok(())
    }

    /// Removes a collection with all that was made of its files, and returns its number. The files stay.
    pub(crate) fn remove_collection(&mut self, owner: &str, id: &str, now: u64) -> Result<i64> {
        let owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let (_, _, number) = self.collection_of(owner, id, now)?;
        self.erase_collection(owner, number)?;
        Ok(number)
    }

    pub(super) fn erase_collection(&mut self, owner: i64, number: i64) -> Result<()> {
        for table in ["chunks", "members"] {
            let remove = format!("DELETE FROM {table} WHERE collection = ?1");
            self.file.connection.execute(&remove, [number])?;
        }
        let remove = "DELETE FROM collections WHERE number = ?1";
        self.file.connection.execute(remove, [number])?;
        self.forget_owner(owner)
    }
}
