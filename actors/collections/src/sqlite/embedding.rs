//! Chunks that wait for a vector of the embedder's space: those of new files, which are not found yet, and those with a vector of another
//! space, which are found by their words.

use std::collections::BTreeSet;

use kebne_retrieval::Vector;
use rusqlite::{OptionalExtension as _, params};

use super::{Database, Result, ingestion, members, number, stored};
use crate::model::{ChunkText, MemberDetails};

/// Chunks of one collection that are embedded together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) owner: i64,
    pub(crate) owner_name: String,
    collection: i64,
    pub(crate) chunks: Vec<Waiting>,
}

/// A chunk that waits for its vector.
#[derive(Debug)]
pub(crate) struct Waiting {
    number: i64,
    member: i64,
    place: i64,
    /// The text to be embedded.
    pub(crate) text: String,
}

/// The result of embedding one chunk of a batch.
#[derive(Debug)]
pub(crate) enum Outcome {
    Vector(Vector),
    /// The embedder does not take the text, for this reason.
    Refused(String),
}

/// A collection with chunks that wait, of the owner behind `?1` or up to it, and of none of those that are `passed_over`. `?2` is the space.
fn next_collection(of_new_files: bool, behind: &str, passed_over: &str) -> String {
    let waits = if of_new_files {
        "chunks.space = 0"
    } else {
        "(chunks.space < ?2 OR chunks.space > ?2)"
    };
    format!(
        "SELECT number, owner FROM collections WHERE owner {behind} ?1 AND owner NOT IN ({passed_over})
            AND EXISTS (SELECT 1 FROM chunks WHERE chunks.collection = collections.number AND {waits})
        ORDER BY owner, number LIMIT 1"
    )
}

/// Number, file, place and text of a chunk.
type Raw = (i64, i64, i64, Vec<u8>);

impl Database {
    /// Returns the next chunks that wait for their vectors, of other owners than those that are `passed_over`: first those of new files, and
    /// in each case owners take turns.
    pub(crate) fn next_batch(
        &mut self,
        last_owner: i64,
        most: usize,
        passed_over: &[i64],
    ) -> Result<Option<Batch>> {
        let space = self.space()?;
        let passed_over: Vec<String> = passed_over.iter().map(i64::to_string).collect();
        let passed_over = passed_over.join(", ");
        let mut next: Option<(i64, i64)> = None;
        for (of_new_files, behind) in [(true, ">"), (true, "<="), (false, ">"), (false, "<=")] {
            let find = next_collection(of_new_files, behind, &passed_over);
            let mut find = self.file.connection.prepare_cached(&find)?;
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found = if of_new_files {
                find.query_row([last_owner], row)
            } else {
                find.query_row([last_owner, space], row)
            };
            next = found.optional()?;
            if next.is_some() {
                break;
            }
        }
        let Some((collection, owner)) = next else {
            return Ok(None);
        };
        let mut rows: Vec<Raw> = Vec::new();
        for range in ["space < ?2", "space > ?2"] {
            let select = format!(
                "SELECT number, member, place, text FROM chunks WHERE collection = ?1 AND {range} ORDER BY space, number LIMIT ?3"
            );
            let mut select = self.file.connection.prepare_cached(&select)?;
            let left = stored((most - rows.len()) as u64);
            let found = select.query_map(params![collection, space, left], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.extend(found.collect::<rusqlite::Result<Vec<Raw>>>()?);
        }
        let mut chunks = Vec::with_capacity(rows.len());
        for (number, member, place, sealed) in rows {
            let about = ingestion::about_text(member, place);
            let text: ChunkText = self.file.open_value(owner, &sealed, &about)?;
            chunks.push(Waiting {
                number,
                member,
                place,
                text: text.indexed(),
            });
        }
        Ok(Some(Batch {
            owner,
            owner_name: self.file.owner_name(owner)?,
            collection,
            chunks,
        }))
    }

    /// Stores the vectors of a batch, as far as its chunks still exist, and completes the files whose last chunks they are. A new file fails
    /// if the embedder refuses one of its chunks; an older chunk that it refuses is found by its words.
    pub(crate) fn finish_batch(&mut self, batch: &Batch, outcomes: &[Outcome]) -> Result<()> {
        let (space, collection) = (self.space()?, batch.collection);
        let version = self.changed(collection)?;
        let (mut failed, mut touched) = (BTreeSet::new(), BTreeSet::new());
        for (chunk, outcome) in batch.chunks.iter().zip(outcomes) {
            if failed.contains(&chunk.member) {
                continue;
            }
            let find = "SELECT changed FROM chunks WHERE number = ?1";
            let find = self
                .file
                .connection
                .query_row(find, [chunk.number], |row| row.get::<_, i64>(0));
            let Some(changed) = find.optional()? else {
                continue;
            };
            let sealed = match outcome {
                Outcome::Vector(vector) => {
                    let about = ingestion::about_vector(chunk.member, chunk.place);
                    self.file.seal(batch.owner, &vector.to_bytes(), &about)?
                }
                Outcome::Refused(why) if changed == 0 => {
                    let failure = ingestion::failure("invalid_file", why);
                    self.fail_member(batch.owner, collection, chunk.member, failure)?;
                    failed.insert(chunk.member);
                    continue;
                }
                Outcome::Refused(_) => Vec::new(),
            };
            let bytes = "UPDATE members SET bytes = max(0, bytes + ?2 - (SELECT length(vector) FROM chunks WHERE number = ?3))
                WHERE number = ?1";
            let row = params![chunk.member, stored(sealed.len() as u64), chunk.number];
            self.file.connection.prepare_cached(bytes)?.execute(row)?;
            let update = "UPDATE chunks SET vector = ?2, space = ?3, changed = iif(changed = 0, 0, ?4) WHERE number = ?1";
            let row = params![chunk.number, sealed, space, stored(version)];
            self.file.connection.prepare_cached(update)?.execute(row)?;
            touched.insert(chunk.member);
        }
        for member in touched.difference(&failed) {
            self.complete_member(batch.owner, collection, *member)?;
        }
        Ok(())
    }

    /// Completes a file whose new chunks all have their vectors: they are found from then on, in place of those of the last reading and of
    /// the older version that it replaces.
    fn complete_member(&mut self, owner: i64, collection: i64, member: i64) -> Result<()> {
        let space = self.space()?;
        let state = "SELECT replaces FROM members WHERE number = ?1 AND cut = 1
            AND NOT EXISTS (SELECT 1 FROM chunks WHERE member = ?1 AND changed = 0 AND (space < ?2 OR space > ?2))";
        let state = self
            .file
            .connection
            .query_row(state, [member, space], |row| row.get::<_, Option<i64>>(0));
        let Some(replaces) = state.optional()? else {
            return Ok(());
        };
        let old = "DELETE FROM chunks WHERE member = ?1 AND changed > 0";
        if self.file.connection.execute(old, [member])? > 0 {
            self.has_removed = true;
            let update = "UPDATE collections SET removals = removals + 1 WHERE number = ?1";
            self.file.connection.execute(update, [collection])?;
        }
        if let Some(replaced) = replaces {
            self.erase_replaced(owner, replaced)?;
        }
        let version = self.changed(collection)?;
        let show = "UPDATE chunks SET changed = ?2 WHERE member = ?1 AND changed = 0";
        self.file
            .connection
            .execute(show, params![member, stored(version)])?;
        let update = "UPDATE members SET status = 'completed', cut = 0, replaces = NULL,
                chunks = (SELECT count(*) FROM chunks WHERE member = ?1),
                bytes = (SELECT coalesce(sum(length(text) + length(vector)), 0) FROM chunks WHERE member = ?1)
            WHERE number = ?1";
        self.file.connection.execute(update, [member])?;
        let mut details = self.details_of(owner, member)?;
        details.failure = None;
        self.write_member(owner, collection, member, &details)
    }

    /// Returns what is kept of a file of a collection.
    pub(super) fn details_of(&mut self, owner: i64, member: i64) -> Result<MemberDetails> {
        let find = "SELECT details FROM members WHERE number = ?1";
        let sealed: Vec<u8> = self
            .file
            .connection
            .query_row(find, [member], |row| row.get(0))?;
        let about = members::about(member);
        Ok(self.file.open_value(owner, &sealed, &about)?)
    }

    /// Returns how many chunks of a collection, or of all, wait for their vectors.
    pub(crate) fn waiting(&self, collection: Option<i64>) -> Result<u64> {
        let space = self.space()?;
        let count = match collection {
            Some(_) => {
                "SELECT (SELECT count(*) FROM chunks WHERE collection = ?1 AND space < ?2)
                    + (SELECT count(*) FROM chunks WHERE collection = ?1 AND space > ?2)"
            }
            None => "SELECT count(*) FROM chunks WHERE ?1 IS NULL AND space <> ?2",
        };
        let mut count = self.file.connection.prepare_cached(count)?;
        Ok(count.query_row(params![collection, space], |row| number(row, 0))?)
    }
}
