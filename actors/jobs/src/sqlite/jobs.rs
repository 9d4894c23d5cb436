//! Jobs as their owners see them.

use rusqlite::{OptionalExtension as _, Row, named_params, params};

use super::{Database, Result, about, later, number, optional, state, stored};
use crate::{
    model::{Ended, Job, NewJob, Page, PageQuery, State, StoreError, Totals},
    settings::{JobsSettings, LIFETIME_MAX},
};

const JOB: &str =
    "id, state, priority, created, expires, due, started, ended, attempts, cancelling";

/// A request may be queued, but its result must have some room too.
const RESULT_ROOM: u64 = 1024;

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        id: row.get(0)?,
        state: state(row, 1)?,
        priority: row.get(2)?,
        created: number(row, 3)?,
        expires: number(row, 4)?,
        due: number(row, 5)?,
        started: optional(row, 6)?,
        ended: optional(row, 7)?,
        attempts: row.get(8)?,
        is_cancelling: row.get(9)?,
        ahead: 0,
    })
}

impl Database {
    /// Queues a job, or returns the one with its idempotency key and `false`.
    pub(crate) fn enqueue(
        &mut self,
        name: &str,
        (id, new): (&str, &NewJob),
        (now, settings): (u64, &JobsSettings),
    ) -> Result<(Job, bool)> {
        let owner = self.file.owner_or_new(name)?;
        if let Some(key) = &new.idempotency {
            let find = "SELECT id FROM jobs WHERE owner = ?1 AND key = ?2";
            let find = self
                .file
                .connection
                .query_row(find, params![owner, key], |row| row.get(0));
            let known: Option<String> = find.optional()?;
            if let Some(known) = known {
                let (request, _) = self.content(name, &known)?;
                if request != new.request {
                    return Err(StoreError::OtherRequest);
                }
                return Ok((self.job(name, &known)?, false));
            }
        }
        self.check_room(owner, std::slice::from_ref(new), settings)?;
        self.insert(owner, None, (id, new), now)?;
        Ok((self.job(name, id)?, true))
    }

    /// Checks that an owner may queue so many more jobs.
    pub(super) fn check_room(
        &self,
        owner: i64,
        more: &[NewJob],
        settings: &JobsSettings,
    ) -> Result<()> {
        let full = |what, setting, max| Err(StoreError::Full { what, setting, max });
        let waiting = "SELECT
            (SELECT count(*) FROM jobs WHERE owner = ?1 AND state = 'queued')
            + (SELECT count(*) FROM jobs WHERE owner = ?1 AND state = 'running')";
        let mut waiting = self.file.connection.prepare_cached(waiting)?;
        let waiting = waiting.query_row([owner], |row| number(row, 0))?;
        if waiting.saturating_add(more.len() as u64) > settings.waiting_max {
            return full("jobs that wait", "waiting_max", settings.waiting_max);
        }
        let max = settings.tenant_bytes_max.0;
        let new = more.iter().map(|job| job.request.len() as u64);
        let new: u64 = new.map(|bytes| bytes.saturating_add(RESULT_ROOM)).sum();
        if self.bytes_of(owner)?.saturating_add(new) > max {
            return full("bytes of jobs", "tenant_bytes_max", max);
        }
        Ok(())
    }

    /// Returns the bytes of an owner's requests and results.
    pub(super) fn bytes_of(&self, owner: i64) -> Result<u64> {
        let sum = "SELECT coalesce(sum(bytes), 0) FROM jobs WHERE owner = ?1";
        let mut sum = self.file.connection.prepare_cached(sum)?;
        Ok(sum.query_row([owner], |row| number(row, 0))?)
    }

    pub(super) fn insert(
        &mut self,
        owner: i64,
        batch: Option<i64>,
        (id, new): (&str, &NewJob),
        now: u64,
    ) -> Result<()> {
        let request = self.file.seal(owner, &new.request, &about("request", id))?;
        let label = self
            .file
            .seal(owner, new.label.as_bytes(), &about("label", id))?;
        let notify = new.notify.as_ref();
        let notify = notify.map(|target| {
            self.file
                .seal(owner, target.as_bytes(), &about("notify", id))
        });
        let insert = "INSERT INTO jobs
            (id, owner, batch, state, priority, created, due, expires, bytes, key, label, request, notify)
            VALUES (?1, ?2, ?3, 'queued', ?4, ?5, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let expires = later(now, new.lifetime.min(LIFETIME_MAX));
        let bytes = stored(new.request.len() as u64);
        let mut insert = self.file.connection.prepare_cached(insert)?;
        insert.execute(params![
            id,
            owner,
            batch,
            new.priority,
            stored(now),
            stored(expires),
            bytes,
            new.idempotency,
            label,
            request,
            notify.transpose()?
        ])?;
        Ok(())
    }

    /// Returns a job of an owner.
    pub(crate) fn job(&mut self, owner: &str, id: &str) -> Result<Job> {
        let owner = self.file.owner(owner)?.ok_or(StoreError::NotFound("job"))?;
        let find = format!("SELECT {JOB}, number FROM jobs WHERE id = ?1 AND owner = ?2");
        let mut find = self.file.connection.prepare_cached(&find)?;
        let found = find.query_row(params![id, owner], |row| {
            Ok((job(row)?, row.get::<_, i64>(10)?))
        });
        let (mut job, at) = found.optional()?.ok_or(StoreError::NotFound("job"))?;
        if job.state == State::Queued {
            let ahead = "SELECT count(*) FROM jobs
                WHERE state = 'queued' AND owner = ?1 AND (priority, number) < (?2, ?3)";
            let mut ahead = self.file.connection.prepare_cached(ahead)?;
            job.ahead = ahead.query_row(params![owner, job.priority, at], |row| number(row, 0))?;
        }
        Ok(job)
    }

    /// Returns the request and the result of a job.
    pub(crate) fn content(&mut self, owner: &str, id: &str) -> Result<(Vec<u8>, Vec<u8>)> {
        let owner = self.file.owner(owner)?.ok_or(StoreError::NotFound("job"))?;
        let find = "SELECT request, result FROM jobs WHERE id = ?1 AND owner = ?2";
        let found = self
            .file
            .connection
            .query_row(find, params![id, owner], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
            });
        let (request, result) = found.optional()?.ok_or(StoreError::NotFound("job"))?;
        let request = self.file.open(owner, &request, &about("request", id))?;
        let result = result.map(|result| self.file.open(owner, &result, &about("result", id)));
        Ok((request, result.transpose()?.unwrap_or_default()))
    }

    /// Returns jobs of an owner that belong to no batch.
    pub(crate) fn jobs(
        &mut self,
        owner: &str,
        page: &PageQuery,
        of: Option<State>,
    ) -> Result<Page<Job>> {
        let owner = self.file.owner(owner)?.unwrap_or(-1);
        let after = self.place_of("jobs", owner, page)?;
        let select = format!(
            "SELECT {JOB} FROM jobs WHERE owner = :owner AND batch IS NULL AND number < :after
                AND (:state IS NULL OR state = :state) ORDER BY number DESC LIMIT :limit"
        );
        let mut select = self.file.connection.prepare_cached(&select)?;
        let parameters = named_params! {
            ":owner": owner, ":after": after, ":state": of.map(State::name),
            ":limit": stored(page.limit as u64 + 1),
        };
        let items = select.query_map(parameters, job)?;
        Ok(paged(page, items.collect::<rusqlite::Result<_>>()?))
    }

    /// Returns the number of the item after which a page begins.
    pub(super) fn place_of(&self, table: &str, owner: i64, page: &PageQuery) -> Result<i64> {
        let Some(after) = &page.after else {
            return Ok(i64::MAX);
        };
        let find = format!("SELECT number FROM {table} WHERE id = ?1 AND owner = ?2");
        let find = self
            .file
            .connection
            .query_row(&find, params![after, owner], |row| row.get(0));
        find.optional()?.ok_or(StoreError::NotListed)
    }

    /// Cancels a job that waits, or marks one that runs.
    pub(crate) fn cancel(&mut self, name: &str, id: &str, now: u64) -> Result<Job> {
        let job = self.job(name, id)?;
        let owner = self.file.owner(name)?.unwrap_or(-1);
        match job.state {
            State::Queued => {
                self.end_queued(
                    "id = ?1 AND owner = ?2",
                    params![id, owner],
                    State::Cancelled,
                    now,
                )?;
            }
            State::Running => {
                let mark = "UPDATE jobs SET cancelling = 1 WHERE id = ?1 AND owner = ?2";
                self.file.connection.execute(mark, params![id, owner])?;
            }
            _ => {}
        }
        self.job(name, id)
    }

    /// Ends jobs that wait, at most a part of them; returns them.
    pub(super) fn end_queued(
        &mut self,
        condition: &str,
        parameters: &[&dyn rusqlite::ToSql],
        to: State,
        now: u64,
    ) -> Result<Vec<Ended>> {
        let select = format!(
            "SELECT number, id, owner, notify FROM jobs WHERE state = 'queued' AND {condition} LIMIT 1000"
        );
        let rows = {
            let mut select = self.file.connection.prepare_cached(&select)?;
            let rows = select.query_map(parameters, |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(i64, String, i64, Option<Vec<u8>>)>>>()?
        };
        let mut all = Vec::with_capacity(rows.len());
        for (at, id, owner, notify) in rows {
            let update = "UPDATE jobs SET state = ?2, ended = ?3, until = NULL WHERE number = ?1";
            let mut update = self.file.connection.prepare_cached(update)?;
            update.execute(params![at, to.name(), stored(now)])?;
            drop(update);
            let ended = Ended { id, state: to };
            self.note_end((owner, notify), ("job", &ended), now)?;
            all.push(ended);
        }
        Ok(all)
    }

    /// Counts what the store holds.
    pub(crate) fn totals(&self) -> Result<Totals> {
        let mut totals = Totals::default();
        let select = "SELECT state, count(*), coalesce(sum(bytes), 0) FROM jobs GROUP BY state";
        let mut select = self.file.connection.prepare_cached(select)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            totals.jobs.insert(state(row, 0)?.name(), number(row, 1)?);
            totals.bytes += number(row, 2)?;
        }
        let rest = "SELECT (SELECT count(*) FROM batches WHERE ended IS NULL), (SELECT count(*) FROM deliveries),
            (SELECT min(created) FROM jobs WHERE state = 'queued')";
        let rest = self.file.connection.query_row(rest, [], |row| {
            Ok((number(row, 0)?, number(row, 1)?, optional(row, 2)?))
        })?;
        (totals.batches_open, totals.notices, totals.oldest_queued) = rest;
        Ok(totals)
    }
}

/// Returns a page of the items that were read, as many as it has and one more if there is one.
pub(super) fn paged<T>(page: &PageQuery, mut items: Vec<T>) -> Page<T> {
    let has_more = items.len() > page.limit;
    items.truncate(page.limit);
    Page { items, has_more }
}
