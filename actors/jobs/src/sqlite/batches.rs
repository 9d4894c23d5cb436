//! Batches: sets of jobs that end together.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Database, Result, about, jobs::paged, later, number, optional, state, stored};
use crate::{
    model::{Batch, BatchCounts, Ended, Line, NewBatch, Page, PageQuery, State, StoreError},
    settings::{JobsSettings, LIFETIME_MAX},
};

const BATCH: &str =
    "number, id, created, expires, cancelling, finalizing, ended, counts, details, owner";

/// A batch whose results are to be collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collecting {
    pub(crate) number: i64,
    pub(crate) fence: i64,
    /// Its owner.
    pub owner: String,
    /// The batch.
    pub batch: Batch,
}

/// A row: the number, the batch, the counts if they are kept, the sealed details, and the owner.
type Raw = (i64, Batch, Option<String>, Vec<u8>, i64);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let batch = Batch {
        id: row.get(1)?,
        created: number(row, 2)?,
        expires: number(row, 3)?,
        started: None,
        cancelling: optional(row, 4)?,
        finalizing: optional(row, 5)?,
        ended: optional(row, 6)?,
        details: Vec::new(),
        counts: BatchCounts::default(),
    };
    Ok((row.get(0)?, batch, row.get(7)?, row.get(8)?, row.get(9)?))
}

impl Database {
    /// Queues a batch with all its jobs, or nothing.
    pub(crate) fn add_batch(
        &mut self,
        name: &str,
        (id, new, ids): (&str, &NewBatch, &[String]),
        (now, settings): (u64, &JobsSettings),
    ) -> Result<Batch> {
        let owner = self.file.owner_or_new(name)?;
        self.check_room(owner, &new.jobs, settings)?;
        let details = self.file.seal(owner, &new.details, &about("batch", id))?;
        let notify = new.notify.as_ref();
        let notify = notify.map(|target| {
            self.file
                .seal(owner, target.as_bytes(), &about("notify", id))
        });
        let insert = "INSERT INTO batches (id, owner, created, expires, details, notify) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let expires = stored(later(now, new.lifetime.min(LIFETIME_MAX)));
        let row = params![
            id,
            owner,
            stored(now),
            expires,
            details,
            notify.transpose()?
        ];
        self.file.connection.execute(insert, row)?;
        let batch = self.file.connection.last_insert_rowid();
        for (id, job) in ids.iter().zip(&new.jobs) {
            self.insert(owner, Some(batch), (id, job), now)?;
        }
        self.batch(name, id)
    }

    /// Returns a batch of an owner.
    pub(crate) fn batch(&mut self, owner: &str, id: &str) -> Result<Batch> {
        let owner = self.file.owner(owner)?.unwrap_or(-1);
        let find = format!("SELECT {BATCH} FROM batches WHERE id = ?1 AND owner = ?2");
        let found = self
            .file
            .connection
            .query_row(&find, params![id, owner], raw);
        let found = found.optional()?.ok_or(StoreError::NotFound("batch"))?;
        self.complete(found)
    }

    /// Returns batches of an owner, the newest first.
    pub(crate) fn batches(&mut self, owner: &str, page: &PageQuery) -> Result<Page<Batch>> {
        let owner = self.file.owner(owner)?.unwrap_or(-1);
        let after = self.place_of("batches", owner, page)?;
        let select = format!(
            "SELECT {BATCH} FROM batches WHERE owner = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3"
        );
        let rows = {
            let mut select = self.file.connection.prepare_cached(&select)?;
            let limit = stored(page.limit as u64 + 1);
            let rows = select.query_map(params![owner, after, limit], raw)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()?
        };
        let Page { items, has_more } = paged(page, rows);
        let items = items.into_iter().map(|raw| self.complete(raw));
        Ok(Page {
            items: items.collect::<Result<_>>()?,
            has_more,
        })
    }

    /// Adds the sealed details and the states of the jobs, which are counted until the results are collected.
    fn complete(&mut self, (at, mut batch, counts, details, owner): Raw) -> Result<Batch> {
        batch.details = self
            .file
            .open(owner, &details, &about("batch", &batch.id))?;
        if let Some(counts) = counts {
            batch.counts = serde_json::from_str(&counts).unwrap_or_default();
            batch.started = Some(batch.created);
            return Ok(batch);
        }
        let select =
            "SELECT state, count(*), min(started) FROM jobs WHERE batch = ?1 GROUP BY state";
        let mut select = self.file.connection.prepare_cached(select)?;
        let mut rows = select.query([at])?;
        while let Some(row) = rows.next()? {
            let count = number(row, 1)?;
            batch.counts.total += count;
            batch.started = batch.started.into_iter().chain(optional(row, 2)?).min();
            *(match state(row, 0)? {
                State::Queued | State::Running => &mut batch.counts.open,
                State::Succeeded => &mut batch.counts.succeeded,
                State::Failed => &mut batch.counts.failed,
                State::Cancelled => &mut batch.counts.cancelled,
                State::Expired => &mut batch.counts.expired,
            }) += count;
        }
        Ok(batch)
    }

    /// Cancels the jobs of a batch that have not ended. Those that run end soon.
    pub(crate) fn cancel_batch(&mut self, name: &str, id: &str, now: u64) -> Result<Batch> {
        let batch = self.batch(name, id)?;
        if batch.ended.is_some() || batch.counts.open == 0 {
            return Ok(batch);
        }
        let mark = "UPDATE batches SET cancelling = coalesce(cancelling, ?2) WHERE id = ?1";
        self.file
            .connection
            .execute(mark, params![id, stored(now)])?;
        let of = "batch = (SELECT number FROM batches WHERE id = ?1)";
        loop {
            let ended = self.end_queued(of, params![id], State::Cancelled, now)?;
            if ended.is_empty() {
                break;
            }
        }
        let mark = format!("UPDATE jobs SET cancelling = 1 WHERE state = 'running' AND {of}");
        self.file.connection.execute(&mark, [id])?;
        self.batch(name, id)
    }

    /// Leases a batch whose jobs have all ended, so that its results are collected.
    pub(crate) fn next_ended_batch(
        &mut self,
        (now, until): (u64, u64),
    ) -> Result<Option<Collecting>> {
        let find = format!(
            "UPDATE batches SET fence = fence + 1, until = ?2, finalizing = coalesce(finalizing, ?1)
            WHERE number = (SELECT number FROM batches WHERE ended IS NULL AND until <= ?1
                AND NOT EXISTS (SELECT 1 FROM jobs WHERE batch = batches.number AND state = 'queued')
                AND NOT EXISTS (SELECT 1 FROM jobs WHERE batch = batches.number AND state = 'running')
                ORDER BY number LIMIT 1)
            RETURNING {BATCH}, fence"
        );
        let found = self
            .file
            .connection
            .query_row(&find, [stored(now), stored(until)], |row| {
                Ok((raw(row)?, row.get(10)?))
            });
        let found: Option<(Raw, i64)> = found.optional()?;
        let Some((raw, fence)) = found else {
            return Ok(None);
        };
        Ok(Some(Collecting {
            number: raw.0,
            fence,
            owner: self.file.owner_name(raw.4)?,
            batch: self.complete(raw)?,
        }))
    }

    /// Returns jobs of a batch that have ended, in order, from the first one after a number on.
    pub(crate) fn lines(&mut self, batch: i64, after: i64, limit: usize) -> Result<Vec<Line>> {
        let select = "SELECT number, id, owner, state, label, result FROM jobs
            WHERE batch = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
        let rows = {
            let mut select = self.file.connection.prepare_cached(select)?;
            let rows = select.query_map(params![batch, after, stored(limit as u64)], |row| {
                let line = Line {
                    number: row.get(0)?,
                    id: row.get(1)?,
                    label: String::new(),
                    state: state(row, 3)?,
                    result: row.get::<_, Option<_>>(5)?.unwrap_or_default(),
                };
                Ok((line, row.get(2)?, row.get(4)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(Line, i64, Vec<u8>)>>>()?
        };
        let lines = rows.into_iter().map(|(mut line, owner, label)| {
            let label = self.file.open(owner, &label, &about("label", &line.id))?;
            line.label = String::from_utf8_lossy(&label).into_owned();
            if !line.result.is_empty() {
                let sealed = std::mem::take(&mut line.result);
                line.result = self.file.open(owner, &sealed, &about("result", &line.id))?;
            }
            Ok(line)
        });
        lines.collect()
    }

    /// Ends a batch whose results were collected, and removes its jobs. Returns `false` if its lease has passed.
    pub(crate) fn end_batch(
        &mut self,
        collected: &Collecting,
        details: &[u8],
        now: u64,
    ) -> Result<bool> {
        let find =
            "SELECT owner, notify FROM batches WHERE number = ?1 AND fence = ?2 AND ended IS NULL";
        let found = self.file.connection.query_row(
            find,
            params![collected.number, collected.fence],
            |row| Ok((row.get(0)?, row.get::<_, Option<Vec<u8>>>(1)?)),
        );
        let Some((owner, notify)) = found.optional()? else {
            return Ok(false);
        };
        let id = &collected.batch.id;
        let details = self.file.seal(owner, details, &about("batch", id))?;
        let counts = serde_json::to_string(&collected.batch.counts);
        let counts = counts.map_err(|error| StoreError::Failed(error.to_string()))?;
        let update = "UPDATE batches SET ended = ?2, details = ?3, counts = ?4 WHERE number = ?1";
        let row = params![collected.number, stored(now), details, counts];
        self.file.connection.execute(update, row)?;
        let remove = "DELETE FROM jobs WHERE batch = ?1";
        self.file.connection.execute(remove, [collected.number])?;
        let ended = Ended {
            id: id.clone(),
            state: state_of(&collected.batch),
        };
        self.note_end((owner, notify), ("batch", &ended), now)?;
        Ok(true)
    }
}

/// Returns the state in which a batch ends.
fn state_of(batch: &Batch) -> State {
    if batch.cancelling.is_some() {
        State::Cancelled
    } else if batch.counts.expired > 0 {
        State::Expired
    } else {
        State::Succeeded
    }
}
