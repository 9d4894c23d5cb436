//! Files of collections.

use rusqlite::{OptionalExtension as _, Row, named_params, params};

use super::{Database, Result, found, number, stored};
use crate::{
    model::{Member, MemberDetails, Page, PageQuery, Status, StoreError, Thing},
    settings::CollectionsSettings,
};
use kebne_retrieval::Attributes;

pub(super) const MEMBER: &str =
    "files.id, members.created, members.status, members.bytes, members.details, members.number";
/// The files of a collection that exist at a time.
const OF_COLLECTION: &str =
    "members.collection = :collection AND (files.expires IS NULL OR files.expires > :now)";

pub(super) struct Raw {
    member: Member,
    sealed: Vec<u8>,
    pub(super) number: i64,
}

pub(super) fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let status: String = row.get(2)?;
    let member = Member {
        file: row.get(0)?,
        created: number(row, 1)?,
        status: Status::named(&status).unwrap_or(Status::Failed),
        bytes: number(row, 3)?,
        details: MemberDetails::default(),
    };
    Ok(Raw {
        member,
        sealed: row.get(4)?,
        number: row.get(5)?,
    })
}

pub(super) fn about(number: i64) -> String {
    format!("member/{number}")
}

impl Database {
    /// Adds a file to a collection, to be read soon. One that is there stays as it is, unless it has failed or its text is to be cut
    /// otherwise: then it is read again.
    pub(crate) fn add_member(
        &mut self,
        owner: &str,
        (collection, file): (&str, &str),
        details: &MemberDetails,
        (now, settings): (u64, &CollectionsSettings),
    ) -> Result<Member> {
        let owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let (_, _, of) = self.collection_of(owner, collection, now)?;
        let (_, file_number) = self.file_of(owner, file, now)?;
        if let Some(present) = self.member_of(owner, of, file, now)? {
            let mut member = present.0;
            let is_given_up = matches!(member.status, Status::Failed | Status::Cancelled);
            let again = is_given_up || member.details.rules != details.rules;
            member.details.attributes.clone_from(&details.attributes);
            if again {
                member.details.rules = details.rules;
                member.details.failure = None;
                self.read_again(present.1)?;
                member.status = Status::InProgress;
            }
            self.write_member(owner, of, present.1, &member.details)?;
            return Ok(member);
        }
        let count = "SELECT count(*) FROM members WHERE collection = ?1";
        let count = self
            .file
            .connection
            .query_row(count, [of], |row| number(row, 0))?;
        if count >= settings.files_max {
            return Err(StoreError::Full {
                what: "files in this vector store",
                setting: "files_max",
                max: settings.files_max,
            });
        }
        let insert = "INSERT INTO members (collection, file, created, status, attempts, chunks, bytes, details)
            VALUES (?1, ?2, ?3, 'in_progress', 0, 0, 0, x'')";
        self.file
            .connection
            .execute(insert, params![of, file_number, stored(now)])?;
        let number = self.file.connection.last_insert_rowid();
        self.write_member(owner, of, number, details)?;
        let touch = "UPDATE collections SET used = ?2 WHERE number = ?1";
        self.file
            .connection
            .execute(touch, params![of, stored(now)])?;
        Ok(Member {
            file: file.to_owned(),
            created: now,
            status: Status::InProgress,
            bytes: 0,
            details: details.clone(),
        })
    }

    /// Has a file of a collection read again. The chunks of the last reading are found until the new ones are complete.
    fn read_again(&mut self, member: i64) -> Result<()> {
        let new = "DELETE FROM chunks WHERE member = ?1 AND changed = 0";
        self.file.connection.execute(new, [member])?;
        let update = "UPDATE members SET status = 'in_progress', attempts = 0, cut = 0,
                bytes = (SELECT coalesce(sum(length(text) + length(vector)), 0) FROM chunks WHERE member = ?1)
            WHERE number = ?1";
        self.file.connection.execute(update, [member])?;
        Ok(())
    }

    /// Notes that the chunks or the attributes of a collection are others, and returns its new version.
    pub(super) fn changed(&mut self, collection: i64) -> Result<u64> {
        let update =
            "UPDATE collections SET version = version + 1 WHERE number = ?1 RETURNING version";
        let mut update = self.file.connection.prepare_cached(update)?;
        let version = update.query_row([collection], |row| number(row, 0));
        Ok(version.optional()?.unwrap_or_default())
    }

    pub(super) fn write_member(
        &mut self,
        owner: i64,
        collection: i64,
        member: i64,
        details: &MemberDetails,
    ) -> Result<()> {
        let sealed = self.file.seal_value(owner, details, &about(member))?;
        let version = stored(self.changed(collection)?);
        let update = "UPDATE members SET details = ?2, changed = ?3 WHERE number = ?1";
        self.file
            .connection
            .execute(update, params![member, sealed, version])?;
        Ok(())
    }

    /// Returns a file of a collection and its number there.
    fn member_of(
        &mut self,
        owner: i64,
        collection: i64,
        file: &str,
        now: u64,
    ) -> Result<Option<(Member, i64)>> {
        let find = format!(
            "SELECT {MEMBER} FROM members JOIN files ON files.number = members.file WHERE {OF_COLLECTION} AND files.id = :file"
        );
        let found = {
            let mut find = self.file.connection.prepare_cached(&find)?;
            let parameters =
                named_params! {":collection": collection, ":file": file, ":now": stored(now)};
            find.query_row(parameters, raw).optional()?
        };
        found.map(|raw| self.opened(owner, raw)).transpose()
    }

    pub(super) fn opened(&mut self, owner: i64, raw: Raw) -> Result<(Member, i64)> {
        let mut member = raw.member;
        member.details = self
            .file
            .open_value(owner, &raw.sealed, &about(raw.number))?;
        Ok((member, raw.number))
    }

    /// Returns a file of a collection of an owner.
    pub(crate) fn member(
        &mut self,
        owner: &str,
        collection: &str,
        file: &str,
        now: u64,
    ) -> Result<Member> {
        let owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let (_, _, of) = self.collection_of(owner, collection, now)?;
        let (member, _) = found(self.member_of(owner, of, file, now)?, Thing::Member)?;
        Ok(member)
    }

    /// Returns files of a collection of an owner, those of one state if it is given.
    pub(crate) fn members(
        &mut self,
        owner: &str,
        collection: &str,
        page: &PageQuery,
        (status, now): (Option<Status>, u64),
    ) -> Result<Page<Member>> {
        let owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let (_, _, of) = self.collection_of(owner, collection, now)?;
        let (after, before) =
            page.bounds(|id| Ok(found(self.member_of(owner, of, id, now)?, Thing::Member)?.1))?;
        let condition =
            format!("{OF_COLLECTION} AND (:status IS NULL OR members.status = :status)");
        let tables = "members JOIN files ON files.number = members.file";
        let select = super::collections::paged("members", MEMBER, &condition, page);
        let select = select.replacen("FROM members", &format!("FROM {tables}"), 1);
        let rows = {
            let mut select = self.file.connection.prepare_cached(&select)?;
            let status = status.map(Status::name);
            let parameters = named_params! {
                ":collection": of, ":now": stored(now), ":status": status, ":after": after, ":before": before,
            };
            let rows = select.query_map(parameters, raw)?;
            rows.take(page.limit + 1)
                .collect::<rusqlite::Result<Vec<_>>>()?
        };
        let Page { items, has_more } = page.page(rows);
        let items = items.into_iter().map(|raw| Ok(self.opened(owner, raw)?.0));
        Ok(Page {
            items: items.collect::<Result<_>>()?,
            has_more,
        })
    }

    /// Replaces the attributes of a file of a collection.
    pub(crate) fn set_attributes(
        &mut self,
        owner: &str,
        (collection, file): (&str, &str),
        attributes: Attributes,
        now: u64,
    ) -> Result<Member> {
        let owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let (_, _, of) = self.collection_of(owner, collection, now)?;
        let (mut member, number) = found(self.member_of(owner, of, file, now)?, Thing::Member)?;
        member.details.attributes = attributes;
        self.write_member(owner, of, number, &member.details)?;
        Ok(member)
    }

    /// Takes a file out of a collection. The file stays.
    pub(crate) fn remove_member(
        &mut self,
        owner: &str,
        collection: &str,
        file: &str,
        now: u64,
    ) -> Result<()> {
        let owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let (_, _, of) = self.collection_of(owner, collection, now)?;
        let (_, number) = found(self.member_of(owner, of, file, now)?, Thing::Member)?;
        self.take_out(of, number)
    }

    /// Takes a file out of a collection by its number there, with the older version that it was to replace.
    pub(super) fn take_out(&mut self, collection: i64, number: i64) -> Result<()> {
        self.remove_chunks(collection, number)?;
        let replaced = "DELETE FROM members WHERE number = ?1 RETURNING replaces";
        let replaced: Option<i64> = self
            .file
            .connection
            .query_row(replaced, [number], |row| row.get(0))?;
        if let Some(replaced) = replaced {
            let owner = "SELECT owner FROM collections WHERE number = ?1";
            let owner: i64 = self
                .file
                .connection
                .query_row(owner, [collection], |row| row.get(0))?;
            self.erase_replaced(owner, replaced)?;
        }
        self.changed(collection)?;
        Ok(())
    }
}
