//! What searches read.

use rusqlite::{OptionalExtension as _, named_params, params};

use super::{Database, Result, collections, files, found, ingestion, members, number, stored};
use crate::model::{ChunkText, MemberDetails, Thing};
use kebne_retrieval::{Attributes, InvalidVector, Vector};

/// A collection that may be searched.
#[derive(Clone, Debug)]
pub(crate) struct Visible {
    pub(crate) number: i64,
    /// It grows with each change of chunks and attributes.
    pub(crate) version: u64,
    owner: i64,
}

/// The file of a collection's chunks.
#[derive(Clone, Debug)]
pub(crate) struct Indexed {
    pub(crate) member: i64,
    pub(crate) attributes: Attributes,
}

/// A chunk with its file.
#[derive(Clone, Debug)]
pub(crate) struct ChunkRow {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) attributes: Attributes,
    /// The position among the chunks of its file.
    pub(crate) place: u64,
    pub(crate) text: ChunkText,
}

impl Database {
    /// Runs a step that only reads, and sees one state of the store.
    pub(crate) fn read<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.connection.execute_batch("BEGIN")?;
        let done = step(self);
        // Nothing was written.
        self.connection.execute_batch("ROLLBACK").ok();
        // An owner's number may be given anew.
        self.keys.clear();
        done
    }

    /// Returns a collection of an owner, to be searched.
    pub(crate) fn visible(&self, owner: &str, id: &str, now: u64) -> Result<Visible> {
        let owner = found(self.owner(owner)?, Thing::Collection)?;
        let lives = collections::lives();
        let find = format!(
            "SELECT number, version FROM collections WHERE id = :id AND owner = :owner AND {lives}"
        );
        let mut find = self.connection.prepare_cached(&find)?;
        let parameters = named_params! {":id": id, ":owner": owner, ":now": stored(now)};
        let row = find.query_row(parameters, |row| {
            let (number, version) = (row.get(0)?, number(row, 1)?);
            Ok(Visible {
                number,
                version,
                owner,
            })
        });
        found(row.optional()?, Thing::Collection)
    }

    /// Returns the files of a collection.
    pub(crate) fn indexed(&mut self, of: &Visible) -> Result<Vec<Indexed>> {
        let select =
            "SELECT number, details FROM members WHERE collection = ?1 AND status = 'completed'";
        let rows = {
            let mut select = self.connection.prepare_cached(select)?;
            let rows = select.query_map([of.number], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?
        };
        let mut all = Vec::with_capacity(rows.len());
        for (member, sealed) in rows {
            let details: MemberDetails =
                self.open_piece(of.owner, &sealed, &members::about(member))?;
            all.push(Indexed {
                member,
                attributes: details.attributes,
            });
        }
        Ok(all)
    }

    /// Returns the numbers of all chunks of a collection, in order.
    pub(crate) fn chunk_numbers(&self, of: &Visible) -> Result<Vec<i64>> {
        let select = "SELECT number FROM chunks WHERE collection = ?1 ORDER BY number";
        let mut select = self.connection.prepare_cached(select)?;
        let rows = select.query_map([of.number], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Calls `take` with number, file, text and vector of each chunk of a collection behind the chunk `after`.
    pub(crate) fn chunks_after(
        &mut self,
        of: &Visible,
        after: i64,
        mut take: impl FnMut(i64, i64, &ChunkText, std::result::Result<Vector, InvalidVector>),
    ) -> Result<()> {
        type Raw = (i64, i64, i64, Vec<u8>, Vec<u8>);
        let mut after = after;
        loop {
            // In parts, so that texts do not take memory all at once.
            let select = "SELECT number, member, place, text, vector FROM chunks
                WHERE collection = ?1 AND number > ?2 ORDER BY number LIMIT 500";
            let rows: Vec<Raw> = {
                let mut select = self.connection.prepare_cached(select)?;
                let rows = select.query_map(params![of.number, after], |row| {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                    ))
                })?;
                rows.collect::<rusqlite::Result<_>>()?
            };
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.0;
            for (number, member, place, text, vector) in rows {
                let about = ingestion::about_text(member, place);
                let text: ChunkText = self.open_piece(of.owner, &text, &about)?;
                let about = ingestion::about_vector(member, place);
                let vector = self.open_bytes(of.owner, &vector, &about)?;
                take(number, member, &text, Vector::from_bytes(&vector));
            }
        }
    }

    /// Returns a chunk of an owner's collection; `None` if it is gone.
    pub(crate) fn chunk(&mut self, of: &Visible, chunk: i64, now: u64) -> Result<Option<ChunkRow>> {
        type Raw = (String, Vec<u8>, Vec<u8>, i64, Vec<u8>, i64);
        let find = format!(
            "SELECT files.id, files.details, members.details, chunks.place, chunks.text, members.number
            FROM chunks JOIN members ON members.number = chunks.member JOIN files ON files.number = members.file
                JOIN collections ON collections.number = chunks.collection
            WHERE chunks.number = :chunk AND chunks.collection = :collection AND collections.owner = :owner
                AND files.owner = :owner AND {}",
            files::LIVES
        );
        let row: Option<Raw> = {
            let mut find = self.connection.prepare_cached(&find)?;
            let parameters = named_params! {
                ":chunk": chunk, ":collection": of.number, ":owner": of.owner, ":now": stored(now),
            };
            let row = find.query_row(parameters, |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                ))
            });
            row.optional()?
        };
        let Some((file, details, of_member, place, text, member)) = row else {
            return Ok(None);
        };
        let details: crate::model::FileDetails =
            self.open_piece(of.owner, &details, &files::about_details(&file))?;
        let of_member: MemberDetails =
            self.open_piece(of.owner, &of_member, &members::about(member))?;
        Ok(Some(ChunkRow {
            file,
            name: details.name,
            attributes: of_member.attributes,
            place: place.unsigned_abs(),
            text: self.open_piece(of.owner, &text, &ingestion::about_text(member, place))?,
        }))
    }

    /// Returns the texts of a file of a collection, in order.
    pub(crate) fn texts(
        &mut self,
        owner: &str,
        (collection, file): (&str, &str),
        now: u64,
    ) -> Result<Vec<ChunkText>> {
        let member = self.member(owner, collection, file, now)?;
        let of = self.visible(owner, collection, now)?;
        let select = "SELECT members.number, chunks.place, chunks.text FROM chunks JOIN members ON members.number = chunks.member
            JOIN files ON files.number = members.file WHERE chunks.collection = ?1 AND files.id = ?2 ORDER BY chunks.place";
        let rows = {
            let mut select = self.connection.prepare_cached(select)?;
            let rows = select.query_map(params![of.number, member.file], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(i64, i64, Vec<u8>)>>>()?
        };
        let texts = rows.into_iter().map(|(member, place, text)| {
            self.open_piece(of.owner, &text, &ingestion::about_text(member, place))
        });
        texts.collect()
    }
}
