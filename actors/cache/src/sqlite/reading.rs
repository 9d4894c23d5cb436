//! What is read.

use kebne_cache::Key;
use kebne_retrieval::Vector;
use rusqlite::{OptionalExtension as _, params};

use super::{Result, SqliteStore, number, owners::hide, stored};
use crate::{
    model::{Candidate, Count, Entry, Meaning, StoreError},
    store::{COMPARED_MAX, nearest},
};

/// A use is noted again after this long, in milliseconds, so that a hit is seldom a write.
const NOTED_EVERY: u64 = 60_000;

/// A row of an answer: its number, times, model and sealed body.
type AnswerRow = (i64, u64, u64, u64, String, Vec<u8>);

/// Returns what the body of an answer is authenticated with.
pub(super) fn about_body(owner: i64, key: &[u8; 32]) -> String {
    format!("cache body/{owner}/{:?}", Key(*key))
}

/// Returns what the question of an answer is authenticated with.
pub(super) fn about_meaning(owner: i64, key: &[u8; 32]) -> String {
    format!("cache meaning/{owner}/{:?}", Key(*key))
}

/// Returns what the learning of a group is authenticated with.
pub(super) fn about_learned(owner: i64, family: &[u8; 32]) -> String {
    format!("cache learned/{owner}/{:?}", Key(*family))
}

impl SqliteStore {
    pub(super) fn read(&mut self, owner: &str, key: Key, now: u64) -> Result<Option<Entry>> {
        let Some(owner) = self.file.owner(owner)? else {
            return Ok(None);
        };
        let hidden = hide(&self.file.key(owner)?, key);
        let found: Option<AnswerRow> = {
            let find = "SELECT number, created, expires, used, model, body FROM entries
                WHERE owner = ?1 AND key = ?2 AND expires > ?3";
            let mut find = self.file.connection.prepare_cached(find)?;
            let of_row = |row: &rusqlite::Row<'_>| {
                let times = (number(row, 1)?, number(row, 2)?, number(row, 3)?);
                Ok((
                    row.get(0)?,
                    times.0,
                    times.1,
                    times.2,
                    row.get(4)?,
                    row.get(5)?,
                ))
            };
            find.query_row(params![owner, hidden, stored(now)], of_row)
                .optional()?
        };
        let Some((place, created, expires, used, model, sealed)) = found else {
            return Ok(None);
        };
        let body = self
            .file
            .open(owner, &sealed, &about_body(owner, &hidden))?;
        if now.saturating_sub(used) >= NOTED_EVERY {
            let update = "UPDATE entries SET used = ?2 WHERE number = ?1";
            let mut update = self.file.connection.prepare_cached(update)?;
            update.execute(params![place, stored(now)])?;
        }
        Ok(Some(Entry {
            key,
            model,
            created,
            expires,
            body: body.into(),
            meaning: None,
        }))
    }

    pub(super) fn compare(
        &mut self,
        owner: &str,
        group: Key,
        (space, vector): (&str, &Vector),
        bounds: (f32, usize),
        now: u64,
    ) -> Result<Vec<Candidate>> {
        let Some(owner) = self.file.owner(owner)? else {
            return Ok(Vec::new());
        };
        let family = hide(&self.file.key(owner)?, group);
        let rows: Vec<([u8; 32], Vec<u8>)> = {
            let find =
                "SELECT key, meaning FROM entries WHERE owner = ?1 AND family = ?2 AND expires > ?3
                ORDER BY number DESC LIMIT ?4";
            let mut find = self.file.connection.prepare_cached(find)?;
            let compared = stored(u64::try_from(COMPARED_MAX).unwrap_or(u64::MAX));
            let values = params![owner, family, stored(now), compared];
            let rows = find.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        let mut candidates = Vec::new();
        for (hidden, sealed) in rows {
            let about = about_meaning(owner, &hidden);
            let plain = self.file.open(owner, &sealed, &about)?;
            let broken = || StoreError::Damaged(format!("`{about}` cannot be read"));
            let (key, found) = Meaning::from_bytes(&plain, group).ok_or_else(broken)?;
            if found.space == space {
                candidates.push(Candidate {
                    key,
                    question: found.question,
                    similarity: found.vector.cosine(vector),
                });
            }
        }
        Ok(nearest(candidates.into_iter(), bounds))
    }

    pub(super) fn read_learned(&mut self, owner: &str, group: Key) -> Result<Option<Vec<u8>>> {
        let Some(owner) = self.file.owner(owner)? else {
            return Ok(None);
        };
        let family = hide(&self.file.key(owner)?, group);
        let sealed: Option<Vec<u8>> = {
            let find = "SELECT body FROM learned WHERE owner = ?1 AND family = ?2";
            let mut find = self.file.connection.prepare_cached(find)?;
            find.query_row(params![owner, family], |row| row.get(0))
                .optional()?
        };
        let about = about_learned(owner, &family);
        match sealed {
            Some(sealed) => Ok(Some(self.file.open(owner, &sealed, &about)?)),
            None => Ok(None),
        }
    }

    pub(super) fn count(&self, owner: Option<&str>) -> Result<Vec<Count>> {
        let count = "SELECT owners.name, entries.model, count(*), sum(entries.bytes) FROM entries
            JOIN owners ON owners.number = entries.owner WHERE ?1 IS NULL OR owners.name = ?1
            GROUP BY owners.name, entries.model ORDER BY owners.name, entries.model";
        let mut count = self.file.connection.prepare_cached(count)?;
        let counts = count.query_map([owner], |row| {
            Ok(Count {
                owner: row.get(0)?,
                model: row.get(1)?,
                entries: number(row, 2)?,
                bytes: number(row, 3)?,
            })
        })?;
        Ok(counts.collect::<rusqlite::Result<_>>()?)
    }
}
