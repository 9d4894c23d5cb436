//! Documents that are imported by their names.

use rusqlite::{OptionalExtension as _, params};

use super::{Database, Result, found, number, stored};
use crate::{
    model::{FileDetails, FileRecord, Imported, MemberDetails, Status, StoreError, Thing},
    settings::CollectionsSettings,
};

/// Returns an error with the bound that is set.
fn full_by(error: StoreError, settings: &CollectionsSettings) -> StoreError {
    match error {
        StoreError::Full { what, setting, .. } => StoreError::Full {
            what,
            setting,
            max: match setting {
                "owner_bytes_max" => settings.owner_bytes_max.0,
                _ => settings.files_max,
            },
        },
        error => error,
    }
}

impl Database {
    /// Adds a file to a collection in place of the one of the same name, unless that has the same content: then it is read again if its
    /// reading has failed or was given up. The old one is found until the new one is read, and stays if that fails.
    pub(crate) fn import(
        &mut self,
        owner_name: &str,
        collection: &str,
        (file, content): (&FileRecord, Vec<u8>),
        settings: &CollectionsSettings,
    ) -> Result<Imported> {
        let now = file.created;
        let owner = found(self.file.owner(owner_name)?, Thing::Collection)?;
        let (_, _, of) = self.collection_of(owner, collection, now)?;
        let name = file.details.name.clone();
        let (mut details, mut replaced) = (MemberDetails::default(), None);
        if let Some(present) = self.named(owner, of, &name, now)? {
            let member = self.member(owner_name, collection, &present, now)?;
            if self.content(owner_name, &present, now)? == content {
                let is_unchanged = !matches!(member.status, Status::Failed | Status::Cancelled);
                let member = if is_unchanged {
                    member
                } else {
                    let both = (collection, present.as_str());
                    self.add_member(owner_name, both, &member.details, (now, settings))?
                };
                return Ok(Imported {
                    name,
                    is_unchanged,
                    member,
                });
            }
            details.attributes = member.details.attributes;
            details.rules = member.details.rules;
            replaced = self.give_way(owner_name, of, (&present, member.status), now)?;
        }
        let mut larger = settings.clone();
        if let Some(member) = replaced {
            // It gives its room to the new one.
            let freed = "SELECT files.bytes + members.bytes FROM members JOIN files ON files.number = members.file
                WHERE members.number = ?1";
            let freed = self
                .file
                .connection
                .query_row(freed, [member], |row| number(row, 0))?;
            larger.files_max = larger.files_max.saturating_add(1);
            larger.owner_bytes_max.0 = larger.owner_bytes_max.0.saturating_add(freed);
        }
        let both = (collection, file.id.as_str());
        let member = self
            .add_file(owner_name, file, &content, &larger)
            .and_then(|()| self.add_member(owner_name, both, &details, (now, &larger)))
            .map_err(|error| full_by(error, settings))?;
        let update = "UPDATE members SET replaces = ?3 WHERE collection = ?1
            AND file = (SELECT number FROM files WHERE id = ?2)";
        let row = params![of, file.id, replaced];
        self.file.connection.execute(update, row)?;
        Ok(Imported {
            name,
            is_unchanged: false,
            member,
        })
    }

    /// Returns the version of a document whose chunks are found until a new one is read. A present version that is not read itself gives way
    /// at once, and the one that it was to replace is left.
    fn give_way(
        &mut self,
        owner: &str,
        collection: i64,
        (present, status): (&str, Status),
        now: u64,
    ) -> Result<Option<i64>> {
        let find = "SELECT members.number, members.replaces, EXISTS (SELECT 1 FROM chunks WHERE member = members.number AND changed > 0)
            FROM members JOIN files ON files.number = members.file WHERE members.collection = ?1 AND files.id = ?2";
        let row = self
            .file
            .connection
            .query_row(find, params![collection, present], |row| {
                Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, bool>(2)?))
            })
            .optional()?;
        let Some((member, older, is_found)) = row else {
            return Ok(None);
        };
        if is_found || status == Status::Completed {
            return Ok(Some(member));
        }
        let forget = "UPDATE members SET replaces = NULL WHERE number = ?1";
        self.file.connection.execute(forget, [member])?;
        self.remove_file(owner, present, now)?;
        Ok(older)
    }

    /// Returns the id of the newest file of a collection with this name.
    fn named(
        &mut self,
        owner: i64,
        collection: i64,
        name: &str,
        now: u64,
    ) -> Result<Option<String>> {
        let select = "SELECT files.id, files.details FROM members JOIN files ON files.number = members.file
            WHERE members.collection = ?1 AND (files.expires IS NULL OR files.expires > ?2) ORDER BY members.number DESC";
        let rows = {
            let mut select = self.file.connection.prepare_cached(select)?;
            let rows = select.query_map([collection, stored(now)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(String, Vec<u8>)>>>()?
        };
        for (id, sealed) in rows {
            let details: FileDetails =
                self.file
                    .open_value(owner, &sealed, &super::files::about_details(&id))?;
            if details.name == name {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}
