//! Batches of files that were added to a collection by one request.
//!
//! A batch is a list of files of its collection, so that it goes with the collection, and a file that is taken out of the collection is gone
//! from the batch too.

use rusqlite::{OptionalExtension as _, named_params, params};

use super::{Database, Result, found, members, number, stored};
use crate::{
    model::{Batch, Counts, Member, MemberDetails, Page, PageQuery, Status, Thing},
    settings::CollectionsSettings,
};

/// The most batches of a collection; the oldest ones are forgotten. Their files stay.
const BATCHES_MAX: u64 = 1000;

/// The tables were added to files that exist, so they are created when they are needed first.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, collection INTEGER NOT NULL,
    created INTEGER NOT NULL, cancelled INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS batches_by_collection ON batches (collection, number);
CREATE TABLE IF NOT EXISTS batch_members (
    batch INTEGER NOT NULL, member INTEGER NOT NULL, PRIMARY KEY (batch, member)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batch_members_by_member ON batch_members (member);
CREATE TRIGGER IF NOT EXISTS batches_of_collection AFTER DELETE ON collections BEGIN
    DELETE FROM batch_members WHERE batch IN (SELECT number FROM batches WHERE collection = old.number);
    DELETE FROM batches WHERE collection = old.number;
END;
CREATE TRIGGER IF NOT EXISTS batches_of_member AFTER DELETE ON members BEGIN
    DELETE FROM batch_members WHERE member = old.number;
END;
";

/// A batch of a collection that an owner has.
struct Of {
    collection: i64,
    owner: i64,
    number: i64,
    created: u64,
    is_cancelled: bool,
}

impl Database {
    /// Adds files to a collection as one batch: all of them, or none.
    pub(crate) fn add_batch(
        &mut self,
        owner: &str,
        (collection, id): (&str, &str),
        files: &[(String, MemberDetails)],
        (now, settings): (u64, &CollectionsSettings),
    ) -> Result<Batch> {
        let of_owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let (_, _, of) = self.collection_of(of_owner, collection, now)?;
        self.file.connection.execute_batch(TABLES)?;
        let insert =
            "INSERT INTO batches (id, collection, created, cancelled) VALUES (?1, ?2, ?3, 0)";
        self.file
            .connection
            .execute(insert, params![id, of, stored(now)])?;
        let batch = self.file.connection.last_insert_rowid();
        for (file, details) in files {
            self.add_member(owner, (collection, file), details, (now, settings))?;
            let insert = "INSERT OR IGNORE INTO batch_members (batch, member)
                SELECT ?1, members.number FROM members JOIN files ON files.number = members.file
                WHERE members.collection = ?2 AND files.id = ?3";
            self.file
                .connection
                .execute(insert, params![batch, of, file])?;
        }
        let oldest = "SELECT number FROM batches WHERE collection = ?1 ORDER BY number DESC LIMIT -1 OFFSET ?2";
        let forget = format!("DELETE FROM batch_members WHERE batch IN ({oldest})");
        self.file
            .connection
            .execute(&forget, params![of, stored(BATCHES_MAX)])?;
        let forget = format!("DELETE FROM batches WHERE number IN ({oldest})");
        self.file
            .connection
            .execute(&forget, params![of, stored(BATCHES_MAX)])?;
        self.batch(owner, (collection, id), now)
    }

    /// Returns a batch of a collection of an owner.
    pub(crate) fn batch(
        &mut self,
        owner: &str,
        (collection, id): (&str, &str),
        now: u64,
    ) -> Result<Batch> {
        let of = self.batch_of(owner, (collection, id), now)?;
        let mut counts = Counts::default();
        let select = "SELECT members.status, count(*) FROM batch_members JOIN members ON members.number = batch_members.member
                JOIN files ON files.number = members.file
            WHERE batch_members.batch = ?1 AND (files.expires IS NULL OR files.expires > ?2) GROUP BY members.status";
        let mut select = self.file.connection.prepare_cached(select)?;
        let mut rows = select.query([of.number, stored(now)])?;
        while let Some(row) = rows.next()? {
            let (status, count) = (row.get::<_, String>(0)?, number(row, 1)?);
            counts.add(Status::named(&status).unwrap_or(Status::Failed), count);
        }
        Ok(Batch {
            id: id.to_owned(),
            created: of.created,
            is_cancelled: of.is_cancelled,
            counts,
        })
    }

    /// Gives up the files of a batch that are not read yet.
    pub(crate) fn cancel_batch(
        &mut self,
        owner: &str,
        (collection, id): (&str, &str),
        now: u64,
    ) -> Result<Batch> {
        let of = self.batch_of(owner, (collection, id), now)?;
        let waiting = "SELECT members.number FROM batch_members JOIN members ON members.number = batch_members.member
            WHERE batch_members.batch = ?1 AND members.status = 'in_progress'";
        let chunks = format!("DELETE FROM chunks WHERE member IN ({waiting})");
        self.file.connection.execute(&chunks, [of.number])?;
        let update = format!(
            "UPDATE members SET status = 'cancelled', chunks = 0, bytes = 0 WHERE number IN ({waiting})"
        );
        let given_up = self.file.connection.execute(&update, [of.number])?;
        if given_up > 0 {
            let update = "UPDATE batches SET cancelled = 1 WHERE number = ?1";
            self.file.connection.execute(update, [of.number])?;
            self.changed(of.collection)?;
        }
        self.batch(owner, (collection, id), now)
    }

    /// Returns the files of a batch, those of one state if it is given.
    pub(crate) fn batch_members(
        &mut self,
        owner: &str,
        (collection, id): (&str, &str),
        page: &PageQuery,
        (status, now): (Option<Status>, u64),
    ) -> Result<Page<Member>> {
        let of = self.batch_of(owner, (collection, id), now)?;
        let (after, before) = page.bounds(|file| {
            let find = "SELECT members.number FROM batch_members JOIN members ON members.number = batch_members.member
                    JOIN files ON files.number = members.file
                WHERE batch_members.batch = ?1 AND files.id = ?2";
            let find = self
                .file
                .connection
                .query_row(find, params![of.number, file], |row| row.get::<_, i64>(0));
            found(find.optional()?, Thing::Member)
        })?;
        let condition = "members.number IN (SELECT member FROM batch_members WHERE batch = :batch)
            AND (files.expires IS NULL OR files.expires > :now) AND (:status IS NULL OR members.status = :status)";
        let select = super::collections::paged("members", members::MEMBER, condition, page);
        let tables = "FROM members JOIN files ON files.number = members.file";
        let select = select.replacen("FROM members", tables, 1);
        let rows = {
            let mut select = self.file.connection.prepare_cached(&select)?;
            let parameters = named_params! {
                ":batch": of.number, ":now": stored(now), ":status": status.map(Status::name), ":after": after, ":before": before,
            };
            let rows = select.query_map(parameters, members::raw)?;
            rows.take(page.limit + 1)
                .collect::<rusqlite::Result<Vec<_>>>()?
        };
        let Page { items, has_more } = page.page(rows);
        let items = items
            .into_iter()
            .map(|raw| Ok(self.opened(of.owner, raw)?.0));
        Ok(Page {
            items: items.collect::<Result<_>>()?,
            has_more,
        })
    }

    fn batch_of(&mut self, owner: &str, (collection, id): (&str, &str), now: u64) -> Result<Of> {
        let owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let (_, _, collection) = self.collection_of(owner, collection, now)?;
        self.file.connection.execute_batch(TABLES)?;
        let find =
            "SELECT number, created, cancelled FROM batches WHERE collection = ?1 AND id = ?2";
        let row = self
            .file
            .connection
            .query_row(find, params![collection, id], |row| {
                Ok(Of {
                    collection,
                    owner,
                    number: row.get(0)?,
                    created: number(row, 1)?,
                    is_cancelled: row.get(2)?,
                })
            });
        found(row.optional()?, Thing::Batch)
    }
}
