//! What searches read.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension as _, named_params, params};

use super::{Database, Result, collections, files, found, ingestion, members, number, stored};
use crate::model::{ChunkText, MemberDetails, StoreError, Thing};
use kebne_retrieval::{Attributes, Vector};
use serde::Serialize;

/// A collection that may be searched.
#[derive(Clone, Debug)]
pub(crate) struct Visible {
    pub(crate) number: i64,
    /// It grows with each change of chunks and attributes.
    pub(crate) version: u64,
    /// It grows with each removal of chunks.
    pub(crate) removals: u64,
    owner: i64,
}

/// The file of a collection's chunks.
#[derive(Clone, Debug)]
pub(crate) struct Indexed {
    pub(crate) member: i64,
    pub(crate) attributes: Attributes,
}

/// A chunk that is new or has a new vector.
#[derive(Clone, Debug)]
pub(crate) struct ChangedChunk {
    pub(crate) member: i64,
    /// `None` if it is known.
    pub(crate) text: Option<ChunkText>,
    /// Its vector, if it has one of the embedder's space.
    pub(crate) vector: Option<Vector>,
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
    /// Its vector, if it has one of the embedder's space.
    pub(crate) vector: Option<Vector>,
}

impl Database {
    /// Runs a step that only reads, and sees one state of the store.
    pub(crate) fn read<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.file.connection.execute_batch("BEGIN")?;
        let done = step(self);
        // Nothing was written.
        self.file.connection.execute_batch("ROLLBACK").ok();
        // An owner's number may be given anew.
        self.file.forget_keys();
        done
    }

    /// Returns a collection of an owner, to be searched.
    pub(crate) fn visible(&self, owner: &str, id: &str, now: u64) -> Result<Visible> {
        let owner = found(self.file.owner(owner)?, Thing::Collection)?;
        let lives = collections::lives();
        let find = format!(
            "SELECT number, version, removals FROM collections WHERE id = :id AND owner = :owner AND {lives}"
        );
        let mut find = self.file.connection.prepare_cached(&find)?;
        let parameters = named_params! {":id": id, ":owner": owner, ":now": stored(now)};
        let row = find.query_row(parameters, |row| {
            Ok(Visible {
                number: row.get(0)?,
                version: number(row, 1)?,
                removals: number(row, 2)?,
                owner,
            })
        });
        found(row.optional()?, Thing::Collection)
    }

    /// Returns the files of a collection that have changed since a version of it.
    pub(crate) fn indexed(&mut self, of: &Visible, since: u64) -> Result<Vec<Indexed>> {
        let select = "SELECT number, details FROM members WHERE collection = ?1 AND changed > ?2";
        let rows = {
            let mut select = self.file.connection.prepare_cached(select)?;
            let rows = select.query_map(params![of.number, stored(since)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?
        };
        let mut all = Vec::with_capacity(rows.len());
        for (member, sealed) in rows {
            let details: MemberDetails =
                self.file
                    .open_value(of.owner, &sealed, &members::about(member))?;
            all.push(Indexed {
                member,
                attributes: details.attributes,
            });
        }
        Ok(all)
    }

    /// Returns the numbers of all chunks of a collection that are found.
    pub(crate) fn chunk_numbers(&self, of: &Visible) -> Result<Vec<i64>> {
        let select = "SELECT number FROM chunks WHERE collection = ?1 AND changed > 0";
        let mut select = self.file.connection.prepare_cached(select)?;
        let rows = select.query_map([of.number], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Calls `take` with the number of each chunk of a collection that has changed since a version of it, and with what reads the chunk, with
    /// its text or without.
    pub(crate) fn chunks_since(
        &mut self,
        of: &Visible,
        since: u64,
        mut take: impl FnMut(i64, &mut dyn FnMut(bool) -> Result<ChangedChunk>) -> Result<()>,
    ) -> Result<()> {
        type Raw = (i64, i64, i64, Vec<u8>, Vec<u8>, i64, i64);
        let (space, mut place_of_last) = (self.space()?, (stored(since), i64::MAX));
        loop {
            // In small parts: their texts are between what the index allocates meanwhile, and leave holes.
            let select = "SELECT number, member, place, text, vector, space, changed FROM chunks
                WHERE collection = ?1 AND (changed, number) > (?2, ?3) ORDER BY changed, number LIMIT 50";
            let rows: Vec<Raw> = {
                let mut select = self.file.connection.prepare_cached(select)?;
                let behind = params![of.number, place_of_last.0, place_of_last.1];
                let rows = select.query_map(behind, |row| {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                        row.get(5)?,
                        row.get(6)?,
                    ))
                })?;
                rows.collect::<rusqlite::Result<_>>()?
            };
            let Some(last) = rows.last() else {
                return Ok(());
            };
            place_of_last = (last.6, last.0);
            for (number, member, place, text, vector, of_space, _) in rows {
                let place_of_vector = (of_space == space).then_some((member, place));
                let mut read = |with_text: bool| {
                    let text = if with_text {
                        let about = ingestion::about_text(member, place);
                        Some(self.file.open_value(of.owner, &text, &about)?)
                    } else {
                        None
                    };
                    let vector = match place_of_vector {
                        Some(place) => self.vector(of.owner, place, &vector)?,
                        None => None,
                    };
                    Ok(ChangedChunk {
                        member,
                        text,
                        vector,
                    })
                };
                take(number, &mut read)?;
            }
        }
    }

    /// Returns a stored vector; `None` for a chunk that the embedder has refused.
    fn vector(
        &mut self,
        owner: i64,
        (member, place): (i64, i64),
        sealed: &[u8],
    ) -> Result<Option<Vector>> {
        if sealed.is_empty() {
            return Ok(None);
        }
        let about = ingestion::about_vector(member, place);
        let bytes = self.file.open(owner, sealed, &about)?;
        Ok(Vector::from_bytes(&bytes).ok())
    }

    /// Returns the stored vectors of chunks of collections of one owner, as far as they have one of the embedder's space.
    pub(crate) fn vectors(
        &mut self,
        of: &[&Visible],
        chunks: &BTreeSet<u64>,
    ) -> Result<BTreeMap<u64, Vector>> {
        type Raw = (i64, i64, i64, Vec<u8>);
        let Some(owner) = of.first().map(|of| of.owner) else {
            return Ok(BTreeMap::new());
        };
        let collections: Vec<i64> = of.iter().map(|of| of.number).collect();
        // The wanted chunks come first, so that only they are read.
        let select = "SELECT chunks.number, chunks.member, chunks.place, chunks.vector
            FROM json_each(:chunks) AS wanted CROSS JOIN chunks ON chunks.number = wanted.value
                JOIN collections ON collections.number = chunks.collection
            WHERE chunks.space = :space AND chunks.changed > 0 AND collections.owner = :owner
                AND chunks.collection IN (SELECT value FROM json_each(:collections))";
        let space = self.space()?;
        let rows: Vec<Raw> = {
            let mut select = self.file.connection.prepare_cached(select)?;
            let parameters = named_params! {
                ":chunks": listed(chunks)?, ":space": space, ":owner": owner, ":collections": listed(&collections)?,
            };
            let rows = select.query_map(parameters, |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        let mut vectors = BTreeMap::new();
        for (number, member, place, sealed) in rows {
            if let Some(vector) = self.vector(owner, (member, place), &sealed)? {
                vectors.insert(number.unsigned_abs(), vector);
            }
        }
        Ok(vectors)
    }

    /// Returns a chunk of an owner's collection; `None` if it is gone.
    pub(crate) fn chunk(&mut self, of: &Visible, chunk: i64, now: u64) -> Result<Option<ChunkRow>> {
        type Raw = (String, Vec<u8>, Vec<u8>, i64, Vec<u8>, i64, Vec<u8>, i64);
        let find = format!(
            "SELECT files.id, files.details, members.details, chunks.place, chunks.text, members.number, chunks.vector, chunks.space
            FROM chunks JOIN members ON members.number = chunks.member JOIN files ON files.number = members.file
                JOIN collections ON collections.number = chunks.collection
            WHERE chunks.number = :chunk AND chunks.changed > 0 AND chunks.collection = :collection AND collections.owner = :owner
                AND files.owner = :owner AND {}",
            files::LIVES
        );
        let row: Option<Raw> = {
            let mut find = self.file.connection.prepare_cached(&find)?;
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
                    row.get(6)?,
                    row.get(7)?,
                ))
            });
            row.optional()?
        };
        let Some((file, details, of_member, place, text, member, vector, space)) = row else {
            return Ok(None);
        };
        let details: crate::model::FileDetails =
            self.file
                .open_value(of.owner, &details, &files::about_details(&file))?;
        let of_member: MemberDetails =
            self.file
                .open_value(of.owner, &of_member, &members::about(member))?;
        Ok(Some(ChunkRow {
            file,
            name: details.name,
            attributes: of_member.attributes,
            place: place.unsigned_abs(),
            text: self
                .file
                .open_value(of.owner, &text, &ingestion::about_text(member, place))?,
            vector: if space == self.space()? {
                self.vector(of.owner, (member, place), &vector)?
            } else {
                None
            },
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
            JOIN files ON files.number = members.file WHERE chunks.collection = ?1 AND chunks.changed > 0 AND files.id = ?2 ORDER BY chunks.place";
        let rows = {
            let mut select = self.file.connection.prepare_cached(select)?;
            let rows = select.query_map(params![of.number, member.file], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(i64, i64, Vec<u8>)>>>()?
        };
        let texts = rows.into_iter().map(|(member, place, text)| {
            let about = ingestion::about_text(member, place);
            Ok(self.file.open_value(of.owner, &text, &about)?)
        });
        texts.collect()
    }
}

/// Returns numbers as a list of JSON, the form in which a query takes many.
fn listed<T: Serialize>(numbers: T) -> Result<String> {
    let list = serde_json::to_string(&numbers);
    list.map_err(|error| StoreError::Failed(error.to_string()))
}
