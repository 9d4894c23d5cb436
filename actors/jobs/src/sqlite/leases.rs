//! Leases: who carries a job out, and what came of it.

use std::{collections::BTreeMap, time::Duration};

use rusqlite::{OptionalExtension as _, params};

use super::{Database, Result, about, later, number, optional, stored};
use crate::model::{Ended, Lease, Leased, Needs, Outcome, Renewed, State, Taken};

/// A job whose attempt ends: its owner, its attempts, whether it is being cancelled, when it expires, and where its end is reported.
type Attempted = (i64, u32, bool, u64, Option<Vec<u8>>);

/// The next job of an owner.
struct Candidate {
    number: i64,
    priority: u8,
}

impl Database {
    /// Leases jobs: those of the best priority first; among them, of the owner of whom the fewest run; then owners take turns.
    pub(crate) fn take(&mut self, needs: &Needs, now: u64) -> Result<Taken> {
        let mut taken = Taken::default();
        taken.lost = self.queue_lost(needs.attempts_max, now, &mut taken.ended)?;
        let expired =
            self.end_queued("expires <= ?1", params![stored(now)], State::Expired, now)?;
        taken.ended.extend(expired);
        let mut running = self.running_by_owner()?;
        let mut candidates = BTreeMap::new();
        for owner in self.waiting_owners()? {
            if let Some(candidate) = self.candidate(owner, now)? {
                candidates.insert(owner, candidate);
            }
        }
        while taken.jobs.len() < needs.most {
            let free = candidates
                .iter()
                .filter(|(owner, _)| running.get(owner).copied().unwrap_or(0) < needs.per_owner);
            let first = free.min_by_key(|(owner, candidate)| {
                let runs = running.get(owner).copied().unwrap_or(0);
                (
                    candidate.priority,
                    runs,
                    **owner <= self.last_owner,
                    candidate.number,
                )
            });
            let Some((&owner, candidate)) = first else {
                break;
            };
            let until = later(now, needs.lease);
            taken
                .jobs
                .push(self.lease(candidate.number, owner, until, now)?);
            *running.entry(owner).or_insert(0) += 1;
            self.last_owner = owner;
            match self.candidate(owner, now)? {
                Some(next) => candidates.insert(owner, next),
                None => candidates.remove(&owner),
            };
        }
        taken.next = self.next_time(now)?;
        Ok(taken)
    }

    /// Queues the jobs whose leases have passed, or ends those that have had all their attempts; returns how many wait again.
    fn queue_lost(&mut self, attempts_max: u32, now: u64, ended: &mut Vec<Ended>) -> Result<u64> {
        let again = "UPDATE jobs SET state = 'queued', due = ?1, until = NULL WHERE state = 'running' AND until <= ?1";
        let lost = self.file.connection.execute(again, [stored(now)])? as u64;
        if lost > 0 {
            let condition = "cancelling = 1";
            ended.extend(self.end_queued(condition, &[], State::Cancelled, now)?);
            let condition = "attempts >= ?1";
            ended.extend(self.end_queued(condition, params![attempts_max], State::Failed, now)?);
        }
        Ok(lost)
    }

    fn running_by_owner(&self) -> Result<BTreeMap<i64, u64>> {
        let select = "SELECT owner, count(*) FROM jobs WHERE state = 'running' GROUP BY owner";
        let mut select = self.file.connection.prepare_cached(select)?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, number(row, 1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Returns the owners with jobs that wait, one look into the index for each.
    fn waiting_owners(&self) -> Result<Vec<i64>> {
        let select = "WITH RECURSIVE owner (number) AS (
                SELECT min(owner) FROM jobs WHERE state = 'queued'
                UNION ALL
                SELECT (SELECT min(jobs.owner) FROM jobs WHERE jobs.state = 'queued' AND jobs.owner > owner.number)
                FROM owner WHERE owner.number IS NOT NULL
            ) SELECT number FROM owner WHERE number IS NOT NULL";
        let mut select = self.file.connection.prepare_cached(select)?;
        let rows = select.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Returns the job of an owner that is carried out next.
    fn candidate(&self, owner: i64, now: u64) -> Result<Option<Candidate>> {
        let find = "SELECT number, priority FROM jobs
            WHERE state = 'queued' AND owner = ?1 AND due <= ?2 ORDER BY priority, number LIMIT 1";
        let mut find = self.file.connection.prepare_cached(find)?;
        let found = find.query_row(params![owner, stored(now)], |row| {
            Ok(Candidate {
                number: row.get(0)?,
                priority: row.get(1)?,
            })
        });
        Ok(found.optional()?)
    }

    fn lease(&mut self, at: i64, owner: i64, until: u64, now: u64) -> Result<Leased> {
        let update = "UPDATE jobs SET state = 'running', fence = fence + 1, attempts = attempts + 1, until = ?2,
                started = coalesce(started, ?3)
            WHERE number = ?1 RETURNING id, fence, attempts, priority, expires, request";
        let (leased, request) = {
            let mut update = self.file.connection.prepare_cached(update)?;
            update.query_row(params![at, stored(until), stored(now)], |row| {
                let leased = Leased {
                    id: row.get(0)?,
                    lease: Lease {
                        number: at,
                        fence: row.get(1)?,
                    },
                    attempt: row.get(2)?,
                    priority: row.get(3)?,
                    expires: number(row, 4)?,
                    owner: String::new(),
                    request: Vec::new(),
                };
                Ok((leased, row.get::<_, Vec<u8>>(5)?))
            })?
        };
        Ok(Leased {
            request: self.open_or_empty(owner, &request, &about("request", &leased.id))?,
            owner: self.file.owner_name(owner)?,
            ..leased
        })
    }

    /// Returns when the next job is due, expires, or loses its lease.
    fn next_time(&self, now: u64) -> Result<Option<u64>> {
        let select = "SELECT min(at) FROM (
                SELECT min(due) AS at FROM jobs WHERE state = 'queued' AND due > ?1
                UNION ALL SELECT min(expires) FROM jobs WHERE state = 'queued'
                UNION ALL SELECT min(until) FROM jobs WHERE state = 'running')";
        let mut select = self.file.connection.prepare_cached(select)?;
        Ok(select.query_row([stored(now)], |row| optional(row, 0))?)
    }

    /// Prolongs leases.
    pub(crate) fn renew(
        &mut self,
        leases: &[Lease],
        (now, lease): (u64, Duration),
    ) -> Result<Vec<Renewed>> {
        let update =
            "UPDATE jobs SET until = ?3 WHERE number = ?1 AND fence = ?2 AND state = 'running'
            RETURNING cancelling";
        let mut update = self.file.connection.prepare_cached(update)?;
        let until = stored(later(now, lease));
        let renewed = leases.iter().map(|lease| {
            let row = update.query_row(params![lease.number, lease.fence, until], |row| {
                row.get::<_, bool>(0)
            });
            Ok(match row.optional()? {
                None => Renewed::Lost,
                Some(true) => Renewed::Cancelling,
                Some(false) => Renewed::Held,
            })
        });
        renewed.collect()
    }

    /// Confirms the end of an attempt; returns `None` if its lease has passed to another one or the job is gone.
    pub(crate) fn confirm(
        &mut self,
        (lease, id): (Lease, &str),
        outcome: Outcome,
        (now, attempts_max): (u64, u32),
    ) -> Result<Option<State>> {
        let find = "SELECT owner, attempts, cancelling, expires, notify FROM jobs
            WHERE number = ?1 AND fence = ?2 AND state = 'running'";
        let found =
            self.file
                .connection
                .query_row(find, params![lease.number, lease.fence], |row| {
                    let notify: Option<Vec<u8>> = row.get(4)?;
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        number(row, 3)?,
                        notify,
                    ))
                });
        let found: Option<Attempted> = found.optional()?;
        let Some((owner, attempts, is_cancelling, expires, notify)) = found else {
            return Ok(None);
        };
        let (to, result) = match outcome {
            Outcome::Succeeded(result) => (State::Succeeded, result),
            Outcome::Failed(result) => (State::Failed, result),
            Outcome::Cancelled => (State::Cancelled, Vec::new()),
            Outcome::Again { .. } if is_cancelling => (State::Cancelled, Vec::new()),
            Outcome::Again {
                counts: true,
                result,
                ..
            } if attempts >= attempts_max => (State::Failed, result),
            Outcome::Again { after, result, .. } if later(now, after) >= expires => {
                (State::Expired, result)
            }
            Outcome::Again { after, counts, .. } => {
                let again = "UPDATE jobs SET state = 'queued', until = NULL, due = ?2, attempts = attempts - ?3 WHERE number = ?1";
                let due = stored(later(now, after));
                self.file
                    .connection
                    .execute(again, params![lease.number, due, u8::from(!counts)])?;
                return Ok(Some(State::Queued));
            }
        };
        let bytes = stored(result.len() as u64);
        let result =
            (!result.is_empty()).then(|| self.file.seal(owner, &result, &about("result", id)));
        let update = "UPDATE jobs SET state = ?2, ended = ?3, until = NULL, result = ?4, bytes = bytes + ?5 WHERE number = ?1";
        let end = params![
            lease.number,
            to.name(),
            stored(now),
            result.transpose()?,
            bytes
        ];
        self.file.connection.execute(update, end)?;
        let ended = Ended {
            id: id.to_owned(),
            state: to,
        };
        self.note_end((owner, notify), ("job", &ended), now)?;
        Ok(Some(to))
    }
}
