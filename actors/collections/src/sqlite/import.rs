//! Documents that are imported by their names.

use super::{Database, Result, found, stored};
use crate::{
    model::{FileDetails, FileRecord, Imported, MemberDetails, Thing},
    settings::CollectionsSettings,
};

impl Database {
    /// Adds a file to a collection in place of the one of the same name, unless that has the same content.
    pub(crate) fn import(
        &mut self,
        owner_name: &str,
        collection: &str,
        (file, content): (&FileRecord, Vec<u8>),
        settings: &CollectionsSettings,
    ) -> Result<Imported> {
        let now = file.created;
        let owner = found(self.owner(owner_name)?, Thing::Collection)?;
        let (_, _, of) = self.collection_of(owner, collection, now)?;
        let name = file.details.name.clone();
        let mut details = MemberDetails::default();
        if let Some(present) = self.named(owner, of, &name, now)? {
            let member = self.member(owner_name, collection, &present, now)?;
            if self.content(owner_name, &present, now)? == content {
                return Ok(Imported {
                    name,
                    is_unchanged: true,
                    member,
                });
            }
            details.attributes = member.details.attributes;
            details.rules = member.details.rules;
            self.remove_file(owner_name, &present, now)?;
        }
        self.add_file(owner_name, file, content, settings)?;
        let both = (collection, file.id.as_str());
        let member = self.add_member(owner_name, both, &details, (now, settings))?;
        Ok(Imported {
            name,
            is_unchanged: false,
            member,
        })
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
            let mut select = self.connection.prepare_cached(select)?;
            let rows = select.query_map([collection, stored(now)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(String, Vec<u8>)>>>()?
        };
        for (id, sealed) in rows {
            let details: FileDetails =
                self.open_piece(owner, &sealed, &super::files::about_details(&id))?;
            if details.name == name {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}
